"""The table of payments, and the statements on it."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, MetaData, String, Table, case, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from payments.domain import PaymentStatus

__all__ = [
    "LedgerRow",
    "Payment",
    "add_payment",
    "decide_due",
    "ledger",
    "lock_payment",
    "metadata",
    "refund",
]

metadata = MetaData()

payments = Table(
    "payments",
    metadata,
    Column("order_id", String(64), primary_key=True),
    Column("payment_id", String(36), nullable=False),
    Column("status", String(16), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Payment:
    """An order's payment as its row says; the amount is in minor units."""

    order_id: str
    payment_id: str
    status: PaymentStatus
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What was captured and refunded for an order, in minor units."""

    order_id: str
    captured: int
    refunded: int
    currency: str


def add_payment(session: Session, payment: Payment) -> bool:
    """Insert the order's payment and hold it; False if it has one.

    Waits for a transaction that is inserting the same one.
    """
    # PostgreSQL's ON CONFLICT DO NOTHING; SQLite understands the same text.
    added = (
        postgresql.insert(payments)
        .values(
            order_id=payment.order_id,
            payment_id=payment.payment_id,
            status=payment.status,
            amount=payment.amount,
            currency=payment.currency,
        )
        .on_conflict_do_nothing()
        .returning(payments.c.order_id)
    )
    return session.execute(added).first() is not None


def lock_payment(session: Session, order_id: str) -> Payment:
    """The order's payment, held against others until the transaction ends.

    Raises:
        sqlalchemy.exc.NoResultFound: it has none.
    """
    found = select(payments).where(payments.c.order_id == order_id).with_for_update()
    row = session.execute(found).one()
    return Payment(
        row.order_id, row.payment_id, PaymentStatus(row.status), row.amount, row.currency
    )


def refund(session: Session, order_id: str) -> bool:
    """Turn an authorized payment into a refunded one; whether there was one."""
    refunded = (
        update(payments)
        .where(payments.c.order_id == order_id, payments.c.status == PaymentStatus.AUTHORIZED)
        .values(status=PaymentStatus.REFUNDED)
        .returning(payments.c.order_id)
    )
    return session.execute(refunded).first() is not None


def decide_due(session: Session, payment: Payment) -> None:
    """Write what was decided about a payment that only a refund had been asked for."""
    session.execute(
        update(payments)
        .where(payments.c.order_id == payment.order_id)
        .values(status=payment.status, amount=payment.amount, currency=payment.currency)
    )


def ledger(session: Session, after: str, limit: int) -> list[LedgerRow]:
    """Every payment by order."""
    taken = case(
        (
            payments.c.status.in_([PaymentStatus.AUTHORIZED, PaymentStatus.REFUNDED]),
            payments.c.amount,
        ),
        else_=0,
    )
    returned = case((payments.c.status == PaymentStatus.REFUNDED, payments.c.amount), else_=0)
    found = (
        select(payments.c.order_id, taken, returned, payments.c.currency)
        .where(payments.c.order_id > after)
        .order_by(payments.c.order_id)
        .limit(limit)
    )
    return [LedgerRow(*row) for row in session.execute(found)]
