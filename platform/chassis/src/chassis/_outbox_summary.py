"""The service database's record of sent events, which is read before a stream is created.

A stream that is created without it never says up to which rank events had been sent before.
"""

import asyncio
import time
from typing import TYPE_CHECKING

from sqlalchemy import func, inspect, select

from chassis._wait_notice import WaitNotice
from chassis.database import (
    ConnectionLost,
    Database,
    DatabaseAtFault,
    DatabaseDown,
    ReadTransaction,
    identity,
    tables,
)
from chassis.database.engine import database_file, is_sqlite, place_of
from chassis.events.producer import outbox
from chassis.events.producer.event_factory import EventFactory
from chassis.events.release.applying import OutboxSummary
from chassis.settings import ServiceSettings

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["DATABASE_ERRORS", "database_reason", "read_outbox_summary"]

DATABASE_ERRORS = (DatabaseDown, ConnectionLost, DatabaseAtFault)
_RETRY_SECONDS = 1.0
_CURRENT_SCHEMA = select(func.current_schema())


def read_outbox_summary(
    service: "Service", settings: ServiceSettings, ends_at: float
) -> OutboxSummary | None:
    """Return the summary of the service's outbox; None if the service has no database for it.

    If the database is unavailable, retry until `ends_at` on the monotonic clock.

    Raises:
        WrongDatabase: it belongs to another service.
        DatabaseDown, ConnectionLost, DatabaseAtFault: it does not answer, or denies the answer.
    """
    url = settings.database_url.get_secret_value()
    if not service.publishes or not url:
        return None
    if is_sqlite(url) and not database_file(url).exists():
        # A missing file means that nothing was sent only if the operator named it, because a
        # default may not be the database that the service uses.
        named = "database_url" in settings.model_fields_set
        return OutboxSummary(0, frozenset(), no_tables=True) if named else None
    notice = WaitNotice()
    while True:
        try:
            return _read_on_new_connection(service.name, url)
        except DATABASE_ERRORS as error:
            if time.monotonic() > ends_at:
                raise
            notice.print(database_reason(error, url))
        time.sleep(_RETRY_SECONDS)


def database_reason(error: Exception, url: str) -> str:
    """Return a line that names the database at `url` and what it said."""
    return f"the database {place_of(url)} cannot say how far events were sent: {error}"


def _read_on_new_connection(service: str, url: str) -> OutboxSummary:
    """Open the database, read the summary, and close the database."""
    database = Database(url, EventFactory(service), threads=1, read_threads=1)
    try:
        return asyncio.run(database.read(lambda tx: _read(tx, service)))
    finally:
        database.close()


def _read(tx: ReadTransaction, service: str) -> OutboxSummary:
    """Return the summary; a database without tables has sent nothing."""
    connection = tx.session.connection()
    if not inspect(connection).has_table(tables.outbox.name):
        if not is_sqlite(connection.engine.url) and connection.scalar(_CURRENT_SCHEMA) is None:
            raise DatabaseAtFault("no schema of its search_path may be used")
        return OutboxSummary(0, frozenset(), no_tables=True)
    identity.check(connection, service)
    return OutboxSummary(outbox.sent_rank(tx.session), frozenset(outbox.types(tx.session)))
