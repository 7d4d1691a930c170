"""Dead letters that a test stores itself."""

import time
from typing import Any

from task_store import TaskStore

from bookstore.v1 import BookReturned, BookSold
from chassis.events.producer.event_factory import EventFactory
from chassis.events.tasks import dead_letter_rows

__all__ = ["PUBLISHER", "bury", "letter", "remaining", "waiting"]

PUBLISHER = EventFactory("bookstore", (BookSold, BookReturned))


def letter(
    key: str = "b-1",
    reason: str = "ValueError: no",
    *,
    ago: float = 0,
    returned: bool = False,
    version: str = "1.2.0",
) -> dict[str, Any]:
    """Return the row of a dead letter."""
    message = (BookReturned if returned else BookSold)(book_id=key, customer_id="me")
    context, row = PUBLISHER.create(message, None)
    return {
        "source": context.source,
        "key": key,
        "event_id": context.id,
        "type": context.type,
        "subject": row.subject,
        "headers": row.headers,
        "data": row.data,
        "reason": reason,
        "tries": 5,
        "died_at": time.time() - ago,
        "version": version,
    }


async def bury(task_store: TaskStore, *letters: dict[str, Any]) -> list[str]:
    """Store dead letters; return the ids of their events."""
    await task_store.database.transaction(lambda tx: dead_letter_rows.store(tx.session, letters))
    return [row["event_id"] for row in letters]


async def remaining(task_store: TaskStore) -> list[str]:
    """Return the ids of the events that are dead letters."""
    return [row.event_id for row in await task_store.dead()]


async def waiting(task_store: TaskStore) -> list[str]:
    """Return the ids of the events that are tasks."""
    return [row.event_id for row in await task_store.rows()]
