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
    "HistoryEntry",
    "HistoryRow",
    "LedgerRow",
    "Order",
    "StaleOrder",
    "add_order",
    "apply_changes",
    "find_by_key",
    "find_first_events",
    "find_order",
    "find_placed",
    "list_history",
    "list_ledger",
    "list_orders",
    "lock_orders",
    "lock_overdue",
    "measure_history",
    "metadata",
    "start_history",
]


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC. SQLite stores no time zone, so it is added to what SQLite returns."""

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
    # [[sku, quantity, price], …], because lines are written once and always read as a whole.
    Column("lines", JSON, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("placed_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    # The number of entries in the order's history, `history_length` in Order.
    Column("recorded", Integer, nullable=False),
    UniqueConstraint("customer_id", "idempotency_key", name="orders_idempotency_key"),
    Index("orders_of_customer", "customer_id", "placed_at", "order_id"),
    Index("orders_placed", "placed_at", "order_id"),
    Index("orders_in_status", "status", "placed_at"),
)

# The histories of the orders.
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
    """An order as stored in its row. Amounts are in minor units."""

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
    history_length: int


@dataclass(frozen=True, slots=True)
class Ending:
    """The final status of an order, the reason for it, and its time."""

    status: Status
    reason: Reason | None
    at: datetime


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A structured CloudEvent to add to an order's history. The terminal one ends the order."""

    cloudevent: str
    terminal: bool = False


@dataclass(slots=True)
class Change:
    """The changes to make to a locked order. `order` is its state before them."""

    order: Order
    entries: list[HistoryEntry] = field(default_factory=list)
    ending: Ending | None = None

    @property
    def status(self) -> Status:
        """The status of the order after this change."""
        return self.ending.status if self.ending else self.order.status


class StaleOrder(RuntimeError):
    """An order's row was changed between reading and writing it."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """An event of an order's history."""

    sequence: int
    cloudevent: str
    terminal: bool


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The data of an order for the conservation laws. Amounts are in minor units."""

    order_id: str
    status: Status
    reason: Reason | None
    total: int
    currency: str
    placed_at: datetime
    ended_at: datetime | None
    endings: int


# The statements of handlers are built once, because building one costs more than running it.
# SQLite understands the text of PostgreSQL's ON CONFLICT DO NOTHING.
_ADD_ORDER = postgresql.insert(orders).on_conflict_do_nothing().returning(orders.c.order_id)
_ADD_ENTRIES = insert(order_events)


def add_order(session: Session, draft: Draft, placed_at: datetime) -> Order | None:
    """Insert a pending order, or return None if its id or its customer's key is in use.

    The statement waits for a transaction that is inserting the same id or key, so that exactly one
    of them succeeds. The caller must add the first event of the history by `start_history`.
    """
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
    if session.execute(_ADD_ORDER, values).first() is None:
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
        history_length=1,
    )


def start_history(session: Session, order_id: str, cloudevent: str) -> None:
    """Insert the first event of a new order's history: that it was placed."""
    session.execute(
        _ADD_ENTRIES,
        {"order_id": order_id, "sequence": 1, "cloudevent": cloudevent, "terminal": False},
    )


def find_placed(session: Session, draft: Draft) -> Order:
    """Return the order that has the draft's id or its customer's idempotency key.

    Raises:
        sqlalchemy.exc.NoResultFound: there is none.
    """
    same = orders.c.order_id == draft.order_id
    if draft.idempotency_key is not None:
        same = or_(
            same,
            (orders.c.customer_id == draft.customer_id)
            & (orders.c.idempotency_key == draft.idempotency_key),
        )
    # If id and key belong to different orders, the order with the id counts.
    by_id_first = (orders.c.order_id == draft.order_id).desc()
    found = select(orders).where(same).order_by(by_id_first).limit(1)
    return _order_of(session.execute(found).one())


def find_by_key(session: Session, customer_id: str, idempotency_key: str) -> Order | None:
    """Return the order that was placed with a customer's idempotency key."""
    of_key = (orders.c.customer_id == customer_id) & (orders.c.idempotency_key == idempotency_key)
    row = session.execute(select(orders).where(of_key)).first()
    return _order_of(row) if row else None


def find_order(session: Session, order_id: str) -> Order | None:
    row = session.execute(select(orders).where(orders.c.order_id == order_id)).first()
    return _order_of(row) if row else None


_LOCK = (
    select(orders)
    .where(orders.c.order_id.in_(bindparam("order_ids", expanding=True)))
    .order_by(orders.c.order_id)
    .with_for_update()
)


def lock_orders(session: Session, order_ids: Collection[str]) -> dict[str, Order]:
    """Return those of the orders that exist, and lock their rows until the transaction ends.

    The rows are locked in the order of their ids, so that two transactions that lock the same
    orders don't deadlock.
    """
    locked = session.execute(_LOCK, {"order_ids": list(order_ids)})
    return {row.order_id: _order_of(row) for row in locked}


def lock_overdue(session: Session, before: datetime, limit: int) -> list[Order]:
    """Return pending orders placed before a time, oldest first, and lock their rows.

    Rows that another transaction has locked are skipped.
    """
    overdue = (
        select(orders)
        .where(orders.c.status == Status.PENDING, orders.c.placed_at < before)
        .order_by(orders.c.placed_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_order_of(row) for row in session.execute(overdue)]


def apply_changes(session: Session, changes: Sequence[Change]) -> None:
    """Write the changes of locked orders to their rows and histories.

    Raises:
        StaleOrder: another transaction changed a row after it was read. An order that has ended
            counts as changed, so that it cannot end again.
    """
    rows = [
        {
            "of": change.order.order_id,
            "before": change.order.history_length,
            "last": change.order.history_length + len(change.entries),
            "to": change.status,
            "why": change.ending.reason if change.ending else change.order.reason,
            "at": change.ending.at if change.ending else change.order.ended_at,
        }
        for change in changes
    ]
    if cast(CursorResult[Any], session.execute(_APPLY, rows)).rowcount != len(rows):
        raise StaleOrder("an order has changed since it was read, or would end twice")
    entries = [
        {
            "order_id": change.order.order_id,
            "sequence": sequence,
            "cloudevent": entry.cloudevent,
            "terminal": entry.terminal,
        }
        for change in changes
        for sequence, entry in enumerate(change.entries, change.order.history_length + 1)
    ]
    session.execute(_ADD_ENTRIES, entries)


_APPLY = (
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


def find_first_events(session: Session, order_ids: Sequence[str]) -> dict[str, str]:
    """Return the first event of each order's history, by order id."""
    found = select(order_events.c.order_id, order_events.c.cloudevent).where(
        order_events.c.order_id.in_(order_ids), order_events.c.sequence == 1
    )
    return dict(session.execute(found).all())


def list_history(session: Session, order_id: str, after: int) -> list[HistoryRow]:
    """Return the events of an order's history whose sequence is greater than `after`."""
    found = (
        select(order_events.c.sequence, order_events.c.cloudevent, order_events.c.terminal)
        .where(order_events.c.order_id == order_id, order_events.c.sequence > after)
        .order_by(order_events.c.sequence)
    )
    return [HistoryRow(*row) for row in session.execute(found)]


def measure_history(session: Session, order_id: str) -> tuple[int, int]:
    """Return the length of an order's history, and the sequence of its terminal event.

    The length is 0 if there is no such order, the sequence 0 if the order has not ended.
    """
    terminal = case((order_events.c.terminal, order_events.c.sequence), else_=0)
    found = select(func.count(), func.coalesce(func.max(terminal), 0)).where(
        order_events.c.order_id == order_id
    )
    length, terminal_sequence = session.execute(found).one()
    return length, terminal_sequence


def list_orders(
    session: Session, customer_id: str | None, before: tuple[datetime, str] | None, limit: int
) -> list[Order]:
    """Return up to `limit` orders, newest first, that are older than (placed_at, order_id)."""
    found = select(orders).order_by(orders.c.placed_at.desc(), orders.c.order_id.desc())
    if customer_id is not None:
        found = found.where(orders.c.customer_id == customer_id)
    if before is not None:
        placed_at, order_id = before
        found = found.where(
            tuple_(orders.c.placed_at, orders.c.order_id)
            < tuple_(literal(placed_at, UtcTime), literal(order_id, String))
        )
    return [_order_of(row) for row in session.execute(found.limit(limit))]


def list_ledger(session: Session, after: str, limit: int) -> list[LedgerRow]:
    """Return up to `limit` orders by id, from the first id greater than `after`.

    `endings` is counted in the history.
    """
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


def _order_of(row: Row[Any]) -> Order:
    """Return the order of a row."""
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
        history_length=row.recorded,
    )
