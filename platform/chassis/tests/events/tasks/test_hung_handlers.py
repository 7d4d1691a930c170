"""A handler that never returns costs its event tries, and delays no other event."""

import asyncio
import threading
from collections import Counter

import pytest
from bookshop import TestSettings, eventually, write_down
from structlog.testing import capture_logs
from task_store import TaskStore

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from chassis.events.tasks import attempts

pytestmark = pytest.mark.unit

SOON = TestSettings(task_timeout_seconds=0.05, task_tries=2, task_lease_seconds=600)
NEVER = TestSettings(task_timeout_seconds=600, task_concurrency=4, task_lease_seconds=600)


class Outside:
    """Handlers of sold books, which wait forever, and of returned books, which do not."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.ended: list[str] = []
        self.router = EventRouter()

        @self.router.on(BookSold)
        async def tell(book: BookSold, event: EventContext, transact: Transact) -> None:
            self.calls[event.id] += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.append(event.id)

        @self.router.on(BookReturned)
        async def note(book: BookReturned, event: EventContext, transact: Transact) -> None:
            await transact(write_down, event)


async def test_a_type_whose_attempts_hang_leaves_room_for_others(task_store: TaskStore) -> None:
    outside = Outside()
    await task_store.add(*(BookSold(book_id=f"hangs {n}") for n in range(20)))
    async with task_store.member("one", outside.router, NEVER) as one:

        async def hang() -> bool:
            return len(outside.calls) == 3

        await eventually(hang)
        await task_store.add(*(BookReturned(book_id=f"key {n}") for n in range(20)))
        one.wake()

        async def the_others_are_done() -> bool:
            return len(await task_store.written()) == 20

        await eventually(the_others_are_done)
        assert len(outside.calls) == 3
        await one.stop(0.01)


async def test_an_attempt_that_exceeds_its_time_limit_is_cancelled_and_costs_a_try(
    task_store: TaskStore,
) -> None:
    outside = Outside()
    (context,) = await task_store.add(BookSold(book_id="a"))
    async with task_store.member("one", outside.router, SOON):
        await eventually(task_store.is_empty)
    (letter,) = await task_store.dead()
    assert (letter.event_id, letter.tries) == (context.id, 2)
    assert letter.reason == "AttemptTimedOut: the handler exceeded its time limit of 0.05 s"
    assert outside.ended == [context.id] * 2


async def test_a_handler_that_swallows_its_cancellation_keeps_no_place_and_commits_nothing(
    task_store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "GRACE_SECONDS", 0.02)
    goes_on, refused = asyncio.Event(), list[BaseException]()
    router = EventRouter()

    @router.on(BookSold)
    async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
        while not goes_on.is_set():
            try:
                await goes_on.wait()
            except asyncio.CancelledError:
                continue
        try:
            await transact(write_down, event)
        except Exception as error:
            refused.append(error)

    contexts = await task_store.add(*(BookSold(book_id=f"key {n}") for n in range(6)))
    with capture_logs() as logs:
        async with task_store.member(
            "one", router, SOON.model_copy(update={"task_concurrency": 2})
        ):
            await eventually(task_store.is_empty)
            goes_on.set()

            async def all_refused() -> bool:
                return len(refused) == 12

            await eventually(all_refused)
    assert {type(error) for error in refused} == {attempts.AttemptTimedOut}
    assert await task_store.written() == []
    assert {letter.event_id for letter in await task_store.dead()} == {
        context.id for context in contexts
    }
    (logged, *_) = [line for line in logs if "abandoning it" in line["event"]]
    assert logged["handler"].endswith("handle")


async def test_a_commit_that_began_within_the_time_limit_is_waited_for(
    task_store: TaskStore,
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    router = EventRouter()

    def slowly(tx: Transaction, event: EventContext) -> None:
        begun.set()
        may_end.wait(20)
        write_down(tx, event)

    @router.on(BookSold)
    async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
        await transact(slowly, event)

    (context,) = await task_store.add(BookSold(book_id="a"))
    async with task_store.member("one", router, SOON):
        await asyncio.to_thread(begun.wait, 20)
        await asyncio.sleep(3 * SOON.task_timeout_seconds)
        may_end.set()
        await eventually(task_store.is_empty)
    assert await task_store.written() == [context.id]
    assert await task_store.dead() == []


class Blocking:
    """A `def` handler that holds its thread until the test releases it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = threading.Semaphore(0)
        self.router = EventRouter()

        @self.router.on(BookSold)
        def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
            self.begun.append(event.id)
            self.may_end.acquire(timeout=20)

    async def hold(self, threads: int) -> None:
        async def hold() -> bool:
            return len(self.begun) == threads

        await eventually(hold)


async def test_other_transactions_wait_for_one_handler_and_not_for_a_queue_of_them(
    task_store: TaskStore,
) -> None:
    blocking = Blocking()
    await task_store.add(*(BookSold(book_id=f"key {n}") for n in range(12)))
    settings, database = TestSettings(task_lease_seconds=600), task_store.connect()
    async with task_store.member("one", blocking.router, settings, database=database):
        threads = database.threads
        await blocking.hold(threads)
        begun_before: list[int] = []
        other = asyncio.create_task(
            database.transaction(lambda tx: begun_before.append(len(blocking.begun)))
        )
        # The transaction is queued in this turn of the event loop.
        await asyncio.sleep(0)
        blocking.may_end.release()
        await other
        assert begun_before == [threads]
        blocking.may_end.release(12)
        await eventually(task_store.is_empty)


async def test_leases_are_renewed_while_handlers_hold_every_thread(
    task_store: TaskStore,
) -> None:
    if task_store.database.sqlite:
        pytest.skip("no member can write while a handler does, so no lease can be taken over")
    blocking = Blocking()
    await task_store.add(*(BookSold(book_id=f"key {n}") for n in range(6)))
    settings, database = TestSettings(task_lease_seconds=0.9), task_store.connect()
    async with task_store.member("one", blocking.router, settings, database=database):
        await blocking.hold(database.threads)
        ends: set[float] = set()

        async def renewed_often() -> bool:
            ends.update(row.leased_until for row in await task_store.rows())
            return len(ends) > 3

        await eventually(renewed_often)
        blocking.may_end.release(6)
        await eventually(task_store.is_empty)
