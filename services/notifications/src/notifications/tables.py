"""The table of notifications, and the statements on it."""

from dataclasses import asdict, dataclass

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

__all__ = ["Notification", "add_notification", "list_ledger", "list_notifications", "metadata"]

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
    """A notification to a customer about an order."""

    order_id: str
    customer_id: str
    text: str


# The statement is built once, because building one costs more than running it.
# SQLite understands the text of PostgreSQL's ON CONFLICT DO NOTHING.
_ADD = postgresql.insert(notifications).on_conflict_do_nothing()


def add_notification(session: Session, notification: Notification) -> None:
    """Insert the order's notification, unless the order has one."""
    session.execute(_ADD, asdict(notification))


def list_notifications(session: Session, customer_id: str | None, limit: int) -> list[Notification]:
    """Return up to `limit` notifications, newest first; of all customers if none is given."""
    found = select(
        notifications.c.order_id, notifications.c.customer_id, notifications.c.text
    ).order_by(notifications.c.id.desc())
    if customer_id is not None:
        found = found.where(notifications.c.customer_id == customer_id)
    return [Notification(*row) for row in session.execute(found.limit(limit))]


def list_ledger(session: Session, after: str, limit: int) -> list[tuple[str, int]]:
    """Return up to `limit` orders and the number of their notifications, by order id.

    The list begins with the first id greater than `after`.
    """
    found = (
        select(notifications.c.order_id, func.count())
        .where(notifications.c.order_id > after)
        .group_by(notifications.c.order_id)
        .order_by(notifications.c.order_id)
        .limit(limit)
    )
    return [(order_id, count) for order_id, count in session.execute(found)]
