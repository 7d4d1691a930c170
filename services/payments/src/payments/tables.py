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
    "list_ledger",
    "lock_payment",
    "metadata",
    "refund",
    "update_payment",
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
    """An order's payment as stored in its row. The amount is in minor units."""

    order_id: str
    payment_id: str
    status: PaymentStatus
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The amounts captured and refunded for an order, in minor units."""

    order_id: str
    captured: int
    refunded: int
    currency: str


# The statement is built once, because building one costs more than running it.
# SQLite understands the text of PostgreSQL's ON CONFLICT DO NOTHING.
_ADD = postgresql.insert(payments).on_conflict_do_nothing().returning(payments.c.order_id)


def add_payment(session: Session, payment: Payment) -> bool:
    """Insert the order's payment and lock it, or return False if the order has one.

    The statement waits for a transaction that is inserting the payment of the same order.
    """
    new = {
        "order_id": payment.order_id,
        "payment_id": payment.payment_id,
        "status": payment.status,
        "amount": payment.amount,
        "currency": payment.currency,
    }
    return session.execute(_ADD, new).first() is not None


def lock_payment(session: Session, order_id: str) -> Payment:
    """Return the order's payment, and lock its row until the transaction ends.

    Raises:
        sqlalchemy.exc.NoResultFound: the order has no payment.
    """
    found = select(payments).where(payments.c.order_id == order_id).with_for_update()
    row = session.execute(found).one()
    return Payment(
        row.order_id, row.payment_id, PaymentStatus(row.status), row.amount, row.currency
    )


def refund(session: Session, order_id: str) -> bool:
    """Mark the order's authorized payment as refunded, and return whether there was one."""
    refunded = (
        update(payments)
        .where(payments.c.order_id == order_id, payments.c.status == PaymentStatus.AUTHORIZED)
        .values(status=PaymentStatus.REFUNDED)
        .returning(payments.c.order_id)
    )
    return session.execute(refunded).first() is not None


def update_payment(session: Session, payment: Payment) -> None:
    """Write status, amount and currency of the order's payment."""
    session.execute(
        update(payments)
        .where(payments.c.order_id == payment.order_id)
        .values(status=payment.status, amount=payment.amount, currency=payment.currency)
    )


def list_ledger(session: Session, after: str, limit: int) -> list[LedgerRow]:
    """Return up to `limit` payments by order id, from the first id greater than `after`."""
    captured = case(
        (
            payments.c.status.in_([PaymentStatus.AUTHORIZED, PaymentStatus.REFUNDED]),
            payments.c.amount,
        ),
        else_=0,
    )
    refunded = case((payments.c.status == PaymentStatus.REFUNDED, payments.c.amount), else_=0)
    found = (
        select(payments.c.order_id, captured, refunded, payments.c.currency)
        .where(payments.c.order_id > after)
        .order_by(payments.c.order_id)
        .limit(limit)
    )
    return [LedgerRow(*row) for row in session.execute(found)]
