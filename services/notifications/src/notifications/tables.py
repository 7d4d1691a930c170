"""The table of notifications, and the statements on it."""

from dataclasses import asdict, dataclass

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

__all__ = ["Notification", "add_notification", "ledger", "list_notifications", "metadata"]

metadata = MetaData()

notifications = Table(
    "notifications",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("order_id", String(64), nullable=False, unique=True),
    Column("customer_id", String(64), nullable=False),
    Column("text", String(500), nullable=False),
    Index("notifications_of_customer", "customer_id", "id"),
)


@dataclass(frozen=True, slots=True)
class Notification:
    """What a customer is told about an order."""

    order_id: str
    customer_id: str
    text: str


def add_notification(session: Session, notification: Notification) -> None:
    """Insert the order's notification, unless it has one."""
    # PostgreSQL's ON CONFLICT DO NOTHING; SQLite understands the same text.
    added = postgresql.insert(notifications).values(asdict(notification))
    session.execute(added.on_conflict_do_nothing())


def list_notifications(session: Session, customer_id: str | None, limit: int) -> list[Notification]:
    """The newest ones, newest first."""
    found = select(
        notifications.c.order_id, notifications.c.customer_id, notifications.c.text
    ).order_by(notifications.c.id.desc())
    if customer_id is not None:
        found = found.where(notifications.c.customer_id == customer_id)
    return [Notification(*row) for row in session.execute(found.limit(limit))]


def ledger(session: Session, after: str, limit: int) -> list[tuple[str, int]]:
    """How many notifications each order got, by order."""
    found = (
        select(notifications.c.order_id, func.count())
        .where(notifications.c.order_id > after)
        .group_by(notifications.c.order_id)
        .order_by(notifications.c.order_id)
        .limit(limit)
    )
    return [(order_id, count) for order_id, count in session.execute(found)]
