"""The tables of orders, and the statements on them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    CursorResult,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    bindparam,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from orders.domain import Draft, Line, Reason, Status

__all__ = [
    "Change",
    "Ending",
    "Entry",
    "EventRow",
    "LedgerRow",
    "Order",
    "StaleOrder",
    "add_order",
    "find_by_key",
    "find_order",
    "find_placed",
    "first_events",
    "ledger",
    "list_events",
    "list_orders",
    "lock_orders",
    "lock_overdue",
    "metadata",
    "record",
    "recorded_and_ended",
    "start_record",
]


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no time zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

orders = Table(
    "orders",
    metadata,
    Column("order_id", String(64), primary_key=True),
    Column("customer_id", String(64), nullable=False),
    Column("idempotency_key", String(255)),
    Column("fingerprint", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", String(32)),
    # [[sku, quantity, price], …]: written once, read as a whole.
    Column("lines", JSON, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("placed_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    # How many events the order's record holds: the last one's sequence.
    Column("recorded", Integer, nullable=False),
    UniqueConstraint("customer_id", "idempotency_key", name="orders_idempotency_key"),
    Index("orders_of_customer", "customer_id", "placed_at", "order_id"),
    Index("orders_placed", "placed_at", "order_id"),
    Index("orders_in_status", "status", "placed_at"),
)

order_events = Table(
    "order_events",
    metadata,
    Column("order_id", ForeignKey("orders.order_id"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("cloudevent", Text, nullable=False),
    Column("terminal", Boolean, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Order:
    """An order as its row says."""

    order_id: str
    customer_id: str
    status: Status
    reason: Reason | None
    lines: tuple[Line, ...]
    total: int
    currency: str
    placed_at: datetime
    ended_at: datetime | None
    fingerprint: str
    recorded: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How and when an order ends."""

    status: Status
    reason: Reason | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """What is added to an order's record: a structured CloudEvent; the terminal one ends it."""

    cloudevent: str
    terminal: bool = False


@dataclass(slots=True)
class Change:
    """What becomes of a locked order, which is as `order` says until this is written."""

    order: Order
    entries: list[Entry] = field(default_factory=list)
    ending: Ending | None = None

    @property
    def status(self) -> Status:
        """Where the order is with this change."""
        return self.ending.status if self.ending else self.order.status


class StaleOrder(RuntimeError):
    """An order's row changed between reading and writing it."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """An entry of an order's record."""

    sequence: int
    cloudevent: str
    terminal: bool


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the conservation laws need to know of an order."""

    order_id: str
    status: Status
    reason: Reason | None
    total: int
    currency: str
    placed_at: datetime
    ended_at: datetime | None
    endings: int


def add_order(session: Session, draft: Draft, placed_at: datetime) -> Order | None:
    """Insert a pending order; None if its id, or its customer's idempotency key, is taken.

    Waits for a transaction that is inserting the same, so that exactly one of them gets it. The
    caller adds the first event of its record by `start_record`.
    """
    # PostgreSQL's ON CONFLICT DO NOTHING; SQLite understands the same text.
    statement = postgresql.insert(orders).on_conflict_do_nothing().returning(orders.c.order_id)
    values = {
        "order_id": draft.order_id,
        "customer_id": draft.customer_id,
        "idempotency_key": draft.idempotency_key,
        "fingerprint": draft.fingerprint,
        "status": Status.PENDING,
        "lines": [[line.sku, line.quantity, line.price] for line in draft.lines],
        "total": draft.total,
        "currency": draft.currency,
        "placed_at": placed_at,
        "recorded": 1,
    }
    if session.execute(statement, values).first() is None:
        return None
    return Order(
        order_id=draft.order_id,
        customer_id=draft.customer_id,
        status=Status.PENDING,
        reason=None,
        lines=draft.lines,
        total=draft.total,
        currency=draft.currency,
        placed_at=placed_at,
        ended_at=None,
        fingerprint=draft.fingerprint,
        recorded=1,
    )


def start_record(session: Session, order_id: str, cloudevent: str) -> None:
    """Write the first event of a new order's record: that it was placed."""
    session.execute(
        insert(order_events),
        {"order_id": order_id, "sequence": 1, "cloudevent": cloudevent, "terminal": False},
    )


def find_placed(session: Session, draft: Draft) -> Order:
    """The order that has taken the draft's id or its idempotency key.

    Raises:
        sqlalchemy.exc.NoResultFound: neither is taken.
    """
    taken = orders.c.order_id == draft.order_id
    if draft.idempotency_key is not None:
        taken = or_(
            taken,
            (orders.c.customer_id == draft.customer_id)
            & (orders.c.idempotency_key == draft.idempotency_key),
        )
    # The order of that very id first, should the two point at different ones.
    by_id_first = (orders.c.order_id == draft.order_id).desc()
    found = select(orders).where(taken).order_by(by_id_first).limit(1)
    return _order(session.execute(found).one())


def find_by_key(session: Session, customer_id: str, idempotency_key: str) -> Order | None:
    """The order that a customer's idempotency key has placed."""
    of_key = (orders.c.customer_id == customer_id) & (orders.c.idempotency_key == idempotency_key)
    row = session.execute(select(orders).where(of_key)).first()
    return _order(row) if row else None


def find_order(session: Session, order_id: str) -> Order | None:
    row = session.execute(select(orders).where(orders.c.order_id == order_id)).first()
    return _order(row) if row else None


def lock_orders(session: Session, order_ids: Collection[str]) -> dict[str, Order]:
    """Those of these orders that there are, held against others until the transaction ends.

    Locked in the order of their ids: two transactions that want the same ones take turns.
    """
    found = (
        select(orders)
        .where(orders.c.order_id.in_(order_ids))
        .order_by(orders.c.order_id)
        .with_for_update()
    )
    return {row.order_id: _order(row) for row in session.execute(found)}


def lock_overdue(session: Session, before: datetime, limit: int) -> list[Order]:
    """Pending orders placed before that moment, oldest first, that nobody holds."""
    overdue = (
        select(orders)
        .where(orders.c.status == Status.PENDING, orders.c.placed_at < before)
        .order_by(orders.c.placed_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_order(row) for row in session.execute(overdue)]


def record(session: Session, changes: Sequence[Change]) -> None:
    """Write what has become of locked orders, and continue their records.

    Raises:
        StaleOrder: a row is no longer as its `order` says, or is not pending and cannot end.
    """
    rows = [
        {
            "of": change.order.order_id,
            "before": change.order.recorded,
            "last": change.order.recorded + len(change.entries),
            "to": change.status,
            "why": change.ending.reason if change.ending else change.order.reason,
            "at": change.ending.at if change.ending else change.order.ended_at,
        }
        for change in changes
    ]
    if cast(CursorResult[Any], session.execute(_MOVED, rows)).rowcount != len(rows):
        raise StaleOrder("an order was changed by another transaction")
    entries = [
        {
            "order_id": change.order.order_id,
            "sequence": sequence,
            "cloudevent": entry.cloudevent,
            "terminal": entry.terminal,
        }
        for change in changes
        for sequence, entry in enumerate(change.entries, change.order.recorded + 1)
    ]
    session.execute(insert(order_events), entries)


_MOVED = (
    update(orders)
    .where(
        orders.c.order_id == bindparam("of"),
        orders.c.recorded == bindparam("before"),
        or_(orders.c.status == Status.PENDING, orders.c.status == bindparam("to")),
    )
    .values(
        recorded=bindparam("last"),
        status=bindparam("to"),
        reason=bindparam("why"),
        ended_at=bindparam("at"),
    )
)


def first_events(session: Session, order_ids: Sequence[str]) -> dict[str, str]:
    """The event each of these orders began with."""
    found = select(order_events.c.order_id, order_events.c.cloudevent).where(
        order_events.c.order_id.in_(order_ids), order_events.c.sequence == 1
    )
    return dict(session.execute(found).all())


def list_events(session: Session, order_id: str, after: int) -> list[EventRow]:
    """The order's record after that sequence."""
    found = (
        select(order_events.c.sequence, order_events.c.cloudevent, order_events.c.terminal)
        .where(order_events.c.order_id == order_id, order_events.c.sequence > after)
        .order_by(order_events.c.sequence)
    )
    return [EventRow(*row) for row in session.execute(found)]


def recorded_and_ended(session: Session, order_id: str) -> tuple[int, int]:
    """How many events the order's record holds, and which of them ended it; 0 for none."""
    ended = case((order_events.c.terminal, order_events.c.sequence), else_=0)
    found = select(func.count(), func.coalesce(func.max(ended), 0)).where(
        order_events.c.order_id == order_id
    )
    count, sequence = session.execute(found).one()
    return count, sequence


def list_orders(
    session: Session, customer_id: str | None, before: tuple[datetime, str] | None, limit: int
) -> list[Order]:
    """Orders, newest first, that were placed before that (placed_at, order_id)."""
    found = select(orders).order_by(orders.c.placed_at.desc(), orders.c.order_id.desc())
    if customer_id is not None:
        found = found.where(orders.c.customer_id == customer_id)
    if before is not None:
        placed_at, order_id = before
        found = found.where(
            tuple_(orders.c.placed_at, orders.c.order_id)
            < tuple_(literal(placed_at, UtcTime), literal(order_id, String))
        )
    return [_order(row) for row in session.execute(found.limit(limit))]


def ledger(session: Session, after: str, limit: int) -> list[LedgerRow]:
    """Every order by id, its endings counted from its record."""
    endings = (
        select(func.count())
        .where(order_events.c.order_id == orders.c.order_id, order_events.c.terminal)
        .scalar_subquery()
    )
    found = (
        select(
            orders.c.order_id,
            orders.c.status,
            orders.c.reason,
            orders.c.total,
            orders.c.currency,
            orders.c.placed_at,
            orders.c.ended_at,
            endings,
        )
        .where(orders.c.order_id > after)
        .order_by(orders.c.order_id)
        .limit(limit)
    )
    return [
        LedgerRow(row[0], Status(row[1]), Reason(row[2]) if row[2] else None, *row[3:])
        for row in session.execute(found)
    ]


def _order(row: Row[Any]) -> Order:
    return Order(
        order_id=row.order_id,
        customer_id=row.customer_id,
        status=Status(row.status),
        reason=Reason(row.reason) if row.reason else None,
        lines=tuple(Line(*line) for line in row.lines),
        total=row.total,
        currency=row.currency,
        placed_at=row.placed_at,
        ended_at=row.ended_at,
        fingerprint=row.fingerprint,
        recorded=row.recorded,
    )
