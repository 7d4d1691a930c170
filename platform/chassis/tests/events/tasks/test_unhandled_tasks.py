"""An event that no running version handles becomes a dead letter at its maximum age."""

import time
from collections.abc import Collection

import pytest
from bookshop import eventually, write_down
from desk import Desk
from structlog.testing import capture_logs

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.events.tasks.unhandled import Unhandled, waiting_types

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

SOLD, RETURNED = "bookstore.v1.BookSold", "bookstore.v1.BookReturned"
DAY = 24 * 3600.0


def long_ago() -> dict[str, object]:
    return {"stored_at": time.time() - 2 * DAY, "due_at": time.time() - 2 * DAY}


async def look(desk: Desk, versions: Collection[str] | None = ()) -> None:
    """Look as a member that handles sold books, while `versions` handle returned ones."""
    await Unhandled(desk.database, [SOLD], lambda _type: versions, DAY).look()


async def test_an_unhandled_event_is_a_dead_letter_at_its_age_and_the_next_one_continues(
    desk: Desk,
) -> None:
    returned = await desk.store(
        *(BookReturned(book_id=key) for key in ("a", "b")), **long_ago(), followed=True
    )
    (behind,) = await desk.store(BookSold(book_id="a"), due_at=None)
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    with capture_logs() as logs:
        async with desk.member("one", router):

            async def is_written() -> bool:
                return await desk.written() == [behind.id]

            await eventually(is_written)
    dead = await desk.dead()
    assert {letter.event_id for letter in dead} == {context.id for context in returned}
    assert "no running version handles it" in dead[0].reason
    assert [(line["type"], line["events"]) for line in logs if line["log_level"] == "error"] == [
        (RETURNED, 2)
    ]


async def test_all_old_unhandled_tasks_of_a_key_become_dead_letters_in_one_look(desk: Desk) -> None:
    old = time.time() - 2 * DAY
    await desk.store(BookReturned(book_id="a"), **long_ago(), followed=True)
    for _ in range(3):
        await desk.store(BookReturned(book_id="a"), stored_at=old, due_at=None)
    (young,) = await desk.store(BookReturned(book_id="a"), due_at=None)
    await look(desk)
    assert [row.event_id for row in await desk.rows()] == [young.id]
    assert len(await desk.dead()) == 4


@pytest.mark.parametrize(
    ("versions", "columns"),
    [(["2"], long_ago()), (None, long_ago()), ((), {})],
    ids=["another version handles it", "who runs is not known", "it is young"],
)
async def test_an_unhandled_event_waits_until_then(
    desk: Desk, versions: Collection[str] | None, columns: dict[str, object]
) -> None:
    (waiting,) = await desk.store(BookReturned(book_id="a"), **columns)
    await look(desk, versions)
    assert [row.event_id for row in await desk.rows()] == [waiting.id]
    assert await desk.dead() == []


async def test_an_event_that_this_version_handles_is_never_too_old(desk: Desk) -> None:
    await desk.store(BookSold(book_id="a"), **long_ago())
    await look(desk)
    assert await desk.dead() == []


async def test_the_types_of_waiting_tasks_are_found(desk: Desk) -> None:
    assert await desk.database.read(lambda tx: waiting_types(tx.session)) == []
    await desk.store(*(BookReturned(book_id=f"{n}") for n in range(3)), BookSold(book_id="a"))
    assert await desk.database.read(lambda tx: waiting_types(tx.session)) == [RETURNED, SOLD]
