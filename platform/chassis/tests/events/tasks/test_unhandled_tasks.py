"""An event that no running version handles becomes a dead letter at its maximum age."""

import time
from collections.abc import Collection

import pytest
from bookshop import eventually, write_down
from structlog.testing import capture_logs
from task_store import TaskStore

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.events.tasks.unhandled import Unhandled, waiting_types

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

SOLD, RETURNED = "bookstore.v1.BookSold", "bookstore.v1.BookReturned"
DAY = 24 * 3600.0


def long_ago() -> dict[str, object]:
    return {"stored_at": time.time() - 2 * DAY, "due_at": time.time() - 2 * DAY}


async def look(task_store: TaskStore, versions: Collection[str] | None = ()) -> None:
    """Look as a member that handles sold books, while `versions` handle returned ones."""
    await Unhandled(task_store.database, [SOLD], lambda _type: versions, DAY).look()


async def test_an_unhandled_event_is_a_dead_letter_at_its_age_and_the_next_one_continues(
    task_store: TaskStore,
) -> None:
    returned = await task_store.add(
        *(BookReturned(book_id=key) for key in ("a", "b")), **long_ago(), followed=True
    )
    (behind,) = await task_store.add(BookSold(book_id="a"), due_at=None)
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    with capture_logs() as logs:
        async with task_store.member("one", router):

            async def is_written() -> bool:
                return await task_store.written() == [behind.id]

            await eventually(is_written)
    dead = await task_store.dead()
    assert {letter.event_id for letter in dead} == {context.id for context in returned}
    assert "no running version handles it" in dead[0].reason
    assert [(line["type"], line["events"]) for line in logs if line["log_level"] == "error"] == [
        (RETURNED, 2)
    ]


async def test_all_old_unhandled_tasks_of_a_key_become_dead_letters_in_one_look(
    task_store: TaskStore,
) -> None:
    old = time.time() - 2 * DAY
    await task_store.add(BookReturned(book_id="a"), **long_ago(), followed=True)
    for _ in range(3):
        await task_store.add(BookReturned(book_id="a"), stored_at=old, due_at=None)
    (young,) = await task_store.add(BookReturned(book_id="a"), due_at=None)
    await look(task_store)
    assert [row.event_id for row in await task_store.rows()] == [young.id]
    assert len(await task_store.dead()) == 4


@pytest.mark.parametrize(
    ("versions", "columns"),
    [(["2"], long_ago()), (None, long_ago()), ((), {})],
    ids=["another version handles it", "who runs is not known", "it is young"],
)
async def test_an_unhandled_event_waits_until_then(
    task_store: TaskStore, versions: Collection[str] | None, columns: dict[str, object]
) -> None:
    (waiting,) = await task_store.add(BookReturned(book_id="a"), **columns)
    await look(task_store, versions)
    assert [row.event_id for row in await task_store.rows()] == [waiting.id]
    assert await task_store.dead() == []


async def test_an_event_that_this_version_handles_is_never_too_old(task_store: TaskStore) -> None:
    await task_store.add(BookSold(book_id="a"), **long_ago())
    await look(task_store)
    assert await task_store.dead() == []


async def test_the_types_of_waiting_tasks_are_found(task_store: TaskStore) -> None:
    assert await task_store.database.read(lambda tx: waiting_types(tx.session)) == []
    await task_store.add(*(BookReturned(book_id=f"{n}") for n in range(3)), BookSold(book_id="a"))
    assert await task_store.database.read(lambda tx: waiting_types(tx.session)) == [RETURNED, SOLD]
