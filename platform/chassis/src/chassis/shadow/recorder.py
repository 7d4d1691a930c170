"""Makes a recording of a service: from its streams and its database, both only read."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import nats.errors
from nats.aio.client import Client
from sqlalchemy import Select, Table, inspect, select

from chassis.database import Database, ReadTransaction
from chassis.events.jetstream.api import JetStreamError
from chassis.events.jetstream.stored_messages import Stored
from chassis.shadow.plain_values import to_plain
from chassis.shadow.recording import RecordedEvent, Recording
from chassis.shadow.sources import Source, sources_of
from chassis.shadow.stream_tail import last_events

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["record"]


async def record(
    service: "Service",
    client: Client,
    database: Database,
    count: int,
    say: Callable[[str], None],
) -> Recording:
    """Record the last `count` events that the service handles, and the rows that its shadow copies.

    Events of which the shadow restores state are not counted; up to `count` of them are recorded.
    `say` is called with a sentence for each stream that cannot be read.

    Raises:
        DatabaseDown, ConnectionLost: the database is unavailable.
        TypeError: JSON has no form for a value of a copied table.
    """
    copies = service.shadow.copies if service.shadow else {}
    rows = await database.read(
        lambda tx: {table.name: _rows(tx, table, what) for table, what in copies.items()}
    )
    handled: list[RecordedEvent] = []
    restored: list[RecordedEvent] = []
    for source in sources_of(service):
        try:
            found = await last_events(client, source, count)
        except (JetStreamError, nats.errors.NoRespondersError) as error:
            say(f"no event of the stream {source.stream} is replayed: it cannot be read: {error}")
            continue
        (restored if source.restoring else handled).extend(_event_of(s, source) for s in found)
    events = [*restored, *sorted(handled, key=_when)[-count:]]
    return Recording(service.name, sorted(events, key=_when), rows)


def _when(event: RecordedEvent) -> tuple[float, str, int]:
    """Return the place of an event among those of all streams."""
    return event.time, event.stream, event.sequence


def _event_of(stored: Stored, source: Source) -> RecordedEvent:
    return RecordedEvent(
        stream=source.stream,
        sequence=stored.sequence,
        subject=stored.subject,
        time=stored.time,
        headers=stored.headers,
        data=stored.data,
        foreign=source.foreign,
    )


def _rows(tx: ReadTransaction, table: Table, what: Select[Any] | None) -> list[dict[str, object]]:
    """Return rows of a table as JSON, by default all of them, in the columns that it has already.

    The tables have the columns of this version's migrations only after the migration.
    """
    if what is None:
        stored = inspect(tx.session.connection()).get_columns(table.name)
        what = select(*(table.c[each["name"]] for each in stored if each["name"] in table.c))
    return [
        {name: to_plain(value) for name, value in row.items()}
        for row in tx.session.execute(what).mappings()
    ]
