"""A task that no running version handles blocks its key: that is said, and it stays."""

import time
from collections.abc import AsyncIterator, Callable

import pytest
from bookshop import eventually, write_down
from desk import Desk
from structlog.testing import capture_logs

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.events import task_rows, tasks


@pytest.fixture
async def desk(new_database: Callable[[str], str]) -> AsyncIterator[Desk]:
    desk = Desk(new_database("desk"))
    yield desk
    desk.close()


async def test_tasks_that_wait_long_for_a_version_that_handles_them_are_told_once_for_each_type(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    looks = 0
    unhandled = task_rows.unhandled

    def counted(*arguments: object) -> dict[str, int]:
        nonlocal looks
        looks += 1
        return unhandled(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(task_rows, "unhandled", counted)
    monkeypatch.setattr(tasks, "_UNHANDLED_SECONDS", 0.02)
    stored_at = time.time() - 7 * 24 * 3600
    waiting = [
        *await desk.store(
            BookReturned(book_id="a"), BookReturned(book_id="b"), stored_at=stored_at
        ),
        *await desk.store(BookSold(book_id="a")),
    ]
    (other,) = await desk.store(BookSold(book_id="c"), stored_at=stored_at)
    with capture_logs() as logs:
        async with desk.member("one", router):

            async def looked_often() -> bool:
                return looks > 3 and await desk.written() == [other.id]

            await eventually(looked_often)
    told = [line for line in logs if line["log_level"] == "error"]
    assert told == [
        {
            "event": "events wait for a version that handles them",
            "log_level": "error",
            "type": "bookstore.v1.BookReturned",
            "keys": 2,
        }
    ]
    assert [row.event_id for row in await desk.rows()] == [context.id for context in waiting]


async def test_tasks_that_wait_for_a_version_since_a_moment_ago_are_not_told(desk: Desk) -> None:
    await desk.store(BookReturned(book_id="a"))
    types = ["bookstore.v1.BookSold"]

    def told(stored_before: float) -> bool:
        return bool(
            desk.database.transact(lambda tx: task_rows.unhandled(tx.session, types, stored_before))
        )

    assert not told(time.time() - 3600)
    assert told(time.time() + 3600)
