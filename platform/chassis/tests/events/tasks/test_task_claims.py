"""A task is run by one member at a time and takes effect once."""

import asyncio
import threading
import time
from collections import Counter

import pytest
from bookshop import TestSettings, eventually, write_down
from held_tasks import PATIENT, TYPES, claim, plain
from locks import is_blocked, next_begin
from task_store import TaskStore

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from chassis.database import DatabaseDown
from chassis.events.tasks import claims, queue
from chassis.events.tasks.queue import DueTimes, TaskFilter
from chassis.events.tasks.task import Task

pytestmark = [pytest.mark.dialect, pytest.mark.unit]


async def test_two_members_that_claim_concurrently_never_get_the_same_task(
    task_store: TaskStore,
) -> None:
    await task_store.add(*(BookSold(book_id=f"key {n}") for n in range(9)))
    other = task_store.connect()
    has_claimed, may_commit = threading.Event(), threading.Event()

    def slowly(tx: Transaction) -> list[Task]:
        claimed = claim(tx, "slow", limit=5)
        has_claimed.set()
        may_commit.wait(10)
        return claimed

    slow = asyncio.create_task(task_store.database.transaction(slowly))
    await asyncio.to_thread(has_claimed.wait, 10)
    begun = next_begin(other)
    quick = asyncio.create_task(other.transaction(lambda tx: claim(tx, "quick")))
    if other.sqlite:
        await is_blocked(other, begun, "slipway_task")
    else:
        # The second claim skips rows that the first has locked.
        await quick
    may_commit.set()
    first, second = {t.id for t in await slow}, {t.id for t in await quick}
    assert len(first) == 5
    assert len(second) == 4
    assert not first & second
    await asyncio.to_thread(other.close)


async def test_only_the_oldest_task_of_a_key_is_claimed(task_store: TaskStore) -> None:
    first, _, other, _ = await task_store.add(
        *(BookSold(book_id=key) for key in ("a", "a", "b", "a")),
    )
    (elsewhere,) = await task_store.add(BookSold(book_id="a"), source="elsewhere")
    claimed = await task_store.database.transaction(lambda tx: claim(tx, "one"))
    assert {t.event_id for t in claimed} == {first.id, other.id, elsewhere.id}
    assert await task_store.database.transaction(lambda tx: claim(tx, "two")) == []


async def test_tasks_that_wait_behind_another_or_run_are_not_due(task_store: TaskStore) -> None:
    """Otherwise the runner would look for tasks every few milliseconds."""
    later = time.time() + 600
    await task_store.add(BookSold(book_id="a"), due_at=later)
    await task_store.add(BookSold(book_id="a"), BookSold(book_id="a"))
    await task_store.add(BookSold(book_id="b"))
    (held,) = await task_store.database.transaction(lambda tx: claim(tx, "one"))
    await task_store.database.transaction(lambda tx: claims.renew(tx.session, [held], 300))
    seen = await task_store.database.read(lambda tx: queue.find_due(tx.session, TaskFilter(TYPES)))
    assert seen.by_type == {"bookstore.v1.BookSold": later}
    assert seen.suspects == {}
    assert seen.lease_end == pytest.approx(later - 300, abs=10)


async def test_a_member_claims_only_types_it_handles(task_store: TaskStore) -> None:
    await task_store.add(BookReturned(book_id="a"), BookSold(book_id="a"))
    # A task that this member cannot handle holds its key for members that can.
    assert await task_store.database.transaction(lambda tx: claim(tx, "one")) == []


def counting(calls: Counter[str]) -> EventRouter:
    router = EventRouter()

    @router.on(BookSold)
    async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
        calls[event.id] += 1
        await asyncio.sleep(0)
        await transact(write_down, event)

    return router


async def test_two_members_share_the_work_and_each_task_runs_once(task_store: TaskStore) -> None:
    calls: Counter[str] = Counter()
    contexts = await task_store.add(*(BookSold(book_id=f"key {n % 20}") for n in range(60)))
    async with (
        task_store.member("one", counting(calls), PATIENT),
        task_store.member("two", counting(calls), PATIENT),
    ):
        await eventually(task_store.is_empty)
    assert set(calls.values()) == {1}
    assert sorted(await task_store.written()) == sorted(context.id for context in contexts)


async def test_a_handler_that_is_cancelled_by_the_call_it_awaits_has_failed(
    task_store: TaskStore,
) -> None:
    router = EventRouter()

    @router.on(BookSold)
    async def handle(book: BookSold) -> None:
        waiting = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting

    await task_store.add(BookSold(book_id="a"))
    async with task_store.member("one", router, TestSettings(task_tries=2, task_lease_seconds=600)):
        await eventually(task_store.is_empty)
    (letter,) = await task_store.dead()
    assert (letter.tries, letter.reason) == (2, "CancelledError: ")


async def test_a_member_continues_after_any_error_of_a_look_for_tasks(
    task_store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter([DatabaseDown("away"), RuntimeError("unforeseen")])
    look = queue.find_due

    def failing(*arguments: object) -> DueTimes:
        for error in errors:
            raise error
        return look(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(queue, "find_due", failing)
    async with task_store.member("one", plain()):

        async def failed_twice() -> bool:
            return next(errors, None) is None

        await eventually(failed_twice)
        await task_store.add(BookSold(book_id="a"))
        await eventually(task_store.is_empty)
