"""Questions to a service that handles events, and changes to the stream that it reads."""

from typing import Any

from bookshop import Node, eventually
from prometheus_client import REGISTRY
from relaying import StreamView
from sqlalchemy import select

from bookstore.v1 import BookReturned, BookSold
from chassis.database.tables import positions
from chassis.events.jetstream.stored_messages import Stored
from chassis.events.wire import event_headers
from chassis.events.wire.contracts import event_type, subject_of
from chassis.events.wire.lanes import lane_of

__all__ = [
    "events_counted",
    "has_found_no_stream",
    "has_taken",
    "is_stopped",
    "position_of",
    "remove",
    "returned_by",
    "stored_events",
    "subject_of_key",
    "taken_ids",
]


def events_counted(metric: str, type: str = "bookstore.v1.BookSold") -> float:
    """Return a counter of events in this process, by its metric and the events' type."""
    return REGISTRY.get_sample_value(metric, {"type": type}) or 0


async def taken_ids(node: Node) -> list[str]:
    """Return the ids of the events in its journal, in order."""
    return [entry.event_id for entry in await node.journal()]


async def has_taken(node: Node, events: int) -> None:
    """Wait until at least `events` events are in its journal."""

    async def holds() -> bool:
        return len(await node.journal()) >= events

    await eventually(holds)


async def has_found_no_stream(node: Node) -> None:
    """Wait until the node has noticed that the stream which it reads is missing."""

    async def holds() -> bool:
        return all(reader.stream_was_missing for reader in node.path.readers)

    await eventually(holds)


async def is_stopped(node: Node, lanes: int = 1) -> list[str]:
    """Wait until `lanes` lanes are stopped, and return their reasons."""

    async def holds() -> bool:
        return len((await node.path.ledger()).stopped) == lanes

    await eventually(holds)
    return list((await node.path.ledger()).stopped)


def subject_of_key(key: str, message: type[Any] = BookSold) -> str:
    """Return the subject of the events of a key."""
    return subject_of(event_type(message), lane_of(key))


def returned_by(number: int, keys: int = 40) -> BookReturned:
    """Return a returned book, as `sold` returns a sold one."""
    return BookReturned(book_id=f"book-{number % keys}", customer_id=str(number))


async def position_of(node: Node, subject: str) -> Any:
    """Return the row of a position; None if there is none."""
    statement = select(positions).where(positions.c.subject == subject)
    return await node.database.read(lambda tx: tx.session.execute(statement).first())


async def stored_events(view: StreamView, subject: str) -> list[Stored]:
    """Return the messages that the stream holds of a subject."""
    return [m for m in await view.messages() if m.subject == subject]


async def remove(view: StreamView, event_id: str) -> None:
    """Delete a message from the stream, as an administrator can."""
    for message in await view.messages():
        if event_headers.header(message.headers, "ce-id") == event_id:
            await view.api("STREAM.MSG.DELETE.bookstore", {"seq": message.sequence})
            return
    raise LookupError(event_id)
