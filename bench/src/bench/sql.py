"""The engine, the inbox and the outbox of the code that uses SQLAlchemy's asynchronous layer."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

__all__ = ["make_engine", "metadata", "note_event", "outbox"]

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
metadata = sa.MetaData()
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("event_id", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("headers", sa.Text),
    sa.Column("payload", sa.LargeBinary),
    sa.Column("sent_at", sa.Text),
)
inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("consumer", sa.Text, primary_key=True),
    sa.Column("event_id", sa.Text, primary_key=True),
)
_INSERT: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_is_unsent = outbox.c.sent_at.is_(None)
sa.Index("outbox_unsent", outbox.c.id, sqlite_where=_is_unsent, postgresql_where=_is_unsent)


def note_event(dialect: str) -> Any:
    """Return the statement that notes an event in the inbox, once for each consumer."""
    return (
        _INSERT[dialect](inbox)
        .values(consumer=sa.bindparam("consumer"), event_id=sa.bindparam("event_id"))
        .on_conflict_do_nothing()
    )


def make_engine(url: str) -> AsyncEngine:
    """Return an engine with the settings that the platform has: WAL, and synchronous=NORMAL."""
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_size=8)
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=120)

    def connected(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=wal")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    event.listen(engine.sync_engine, "connect", connected)
    return engine
