"""What a test asks of a service that takes events in, and does to the stream that it reads."""

from typing import Any

from bookshop import Node, eventually
from relaying import StreamView
from sqlalchemy import select

from bookstore.v1 import BookReturned, BookSold
from chassis.database.tables import positions
from chassis.events.jetstream.stored_messages import Stored
from chassis.events.wire import event_headers
from chassis.events.wire.contracts import event_type, subject_of
from chassis.events.wire.lanes import lane_of

__all__ = [
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


async def taken_ids(node: Node) -> list[str]:
    """Ids of the events in its journal, in order."""
    return [entry.event_id for entry in await node.journal()]


async def has_taken(node: Node, events: int) -> None:
    """Wait until so many are in its journal, or more."""

    async def holds() -> bool:
        return len(await node.journal()) >= events

    await eventually(holds)


async def has_found_no_stream(node: Node) -> None:
    """Wait until it has looked for the stream that it reads, before there is one."""

    async def holds() -> bool:
        return all(reader.stream_was_missing for reader in node.path.readers)

    await eventually(holds)


async def is_stopped(node: Node, lanes: int = 1) -> list[str]:
    """Wait until so many lanes are stopped; what is said of them."""

    async def holds() -> bool:
        return len((await node.path.ledger()).stopped) == lanes

    await eventually(holds)
    return list((await node.path.ledger()).stopped)


def subject_of_key(key: str, message: type[Any] = BookSold) -> str:
    """Where the events of a key go."""
    return subject_of(event_type(message), lane_of(key))


def returned_by(number: int, keys: int = 40) -> BookReturned:
    """As `sold`, of the other type."""
    return BookReturned(book_id=f"book-{number % keys}", customer_id=str(number))


async def position_of(node: Node, subject: str) -> Any:
    """The row, if there is one."""
    statement = select(positions).where(positions.c.subject == subject)
    return await node.database.read(lambda tx: tx.session.execute(statement).first())


async def stored_events(view: StreamView, subject: str) -> list[Stored]:
    """What the stream holds of a subject."""
    return [m for m in await view.messages() if m.subject == subject]


async def remove(view: StreamView, event_id: str) -> None:
    """Take a message out of the stream, as an administrator can."""
    for message in await view.messages():
        if event_headers.header(message.headers, "ce-id") == event_id:
            await view.api("STREAM.MSG.DELETE.bookstore", {"seq": message.sequence})
            return
    raise LookupError(event_id)
