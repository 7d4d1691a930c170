"""A task is run by one member at a time and takes effect once."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from bookshop import TestSettings, eventually, write_down
from killers import leases_run_out
from locks import is_blocked, next_begin
from task_store import TaskStore

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from chassis.database import Database, DatabaseDown
from chassis.events.tasks import claims, dead_letter_rows, queue
from chassis.events.tasks.gate import Gate
from chassis.events.tasks.queue import DueTimes, TaskFilter
from chassis.events.tasks.task import ClaimLost, Task

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

TYPES = ["bookstore.v1.BookSold"]
# A lease expires only when a test makes it expire.
PATIENT = TestSettings(task_lease_seconds=600)


def claim(tx: Transaction, owner: str, limit: int = 100) -> list[Task]:
    return claims.claim(
        tx.session, TaskFilter(TYPES), dict.fromkeys(TYPES, limit), owner=owner, lease_seconds=600
    )[0]


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


async def test_an_attempt_that_finishes_after_its_lease_expired_is_refused(
    task_store: TaskStore,
) -> None:
    """The second attempt has begun when the first one finishes."""
    order: list[str] = []
    first_may_end, first_has_tried = asyncio.Event(), asyncio.Event()
    second_has_begun = asyncio.Event()

    def handler(name: str) -> EventRouter:
        router = EventRouter()

        @router.on(BookSold)
        async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
            order.append(f"{name} begins")
            if name == "first":
                await first_may_end.wait()
            else:
                second_has_begun.set()
                await first_has_tried.wait()
            try:
                await transact(write_down, event)
            except ClaimLost:
                order.append(f"{name} is refused")
                raise
            finally:
                first_has_tried.set()

        return router

    await task_store.add(BookSold(book_id="a"))
    async with task_store.member("first", handler("first"), PATIENT) as first:

        async def begun() -> bool:
            return bool(order)

        await eventually(begun)
        for task in first.running.leases.held:
            # The lease is not renewed, as if the process hung.
            first.running.leases.drop(task)
        await leases_run_out(task_store.database)
        async with task_store.member("second", handler("second"), PATIENT):
            await asyncio.wait_for(second_has_begun.wait(), 20)
            first_may_end.set()
            await eventually(task_store.is_empty)
    assert order == ["first begins", "second begins", "first is refused"]
    assert len(await task_store.written()) == 1
    assert await task_store.dead() == []


async def test_a_def_handler_that_finishes_after_its_lease_expired_is_refused(
    task_store: TaskStore,
) -> None:
    (context,) = await task_store.add(BookSold(book_id="a"))
    (late,) = await task_store.database.transaction(lambda tx: claim(tx, "late"))
    await leases_run_out(task_store.database)
    async with task_store.member("other", plain(), PATIENT):
        await eventually(task_store.is_empty)

    def finish(tx: Transaction) -> None:
        claims.finish(tx.session, late)
        write_down(tx, context)

    with pytest.raises(ClaimLost):
        await task_store.database.transaction(finish)
    assert await task_store.written() == [context.id]


def plain() -> EventRouter:
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    return router


async def test_a_late_outcome_of_a_task_that_was_taken_over_changes_nothing(
    task_store: TaskStore,
) -> None:
    await task_store.add(BookSold(book_id="a"))
    (late,) = await task_store.database.transaction(lambda tx: claim(tx, "late"))
    await leases_run_out(task_store.database)
    # A task that was claimed twice is a suspect.
    await task_store.database.transaction(lambda tx: claim(tx, "other"))
    taken = await task_store.database.transaction(
        lambda tx: claims.claim_suspect(tx.session, owner="other", types=TYPES, lease_seconds=600)
    )
    assert taken
    before = await task_store.rows()
    with pytest.raises(ClaimLost):
        await task_store.database.transaction(
            lambda tx: claims.postpone(tx.session, late, tries=9, due_at=0, reason="late")
        )
    with pytest.raises(ClaimLost):
        await task_store.database.transaction(
            lambda tx: dead_letter_rows.bury(tx.session, late, tries=9, reason="late")
        )
    await task_store.database.transaction(lambda tx: claims.release(tx.session, late))
    await task_store.database.transaction(lambda tx: claims.renew(tx.session, [late], 9999))
    assert await task_store.rows() == before
    assert await task_store.dead() == []


class Held:
    """A handler that runs until the test lets it finish."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.router = EventRouter()

        @self.router.on(BookSold)
        async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
            self.calls.append(event.id)
            self.begun.set()
            await self.may_end.wait()
            await transact(write_down, event)


RENEWING = TestSettings(task_lease_seconds=0.3)


@pytest.fixture
def claimed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member's first claim; all later ones return nothing.

    On a busy machine a lease may expire, and without this a task could change its owner.
    """
    claim, claimed = claims.claim, list[Task]()

    def first(*arguments: Any, **options: Any) -> tuple[list[Task], int]:
        if claimed:
            return [], 0
        tasks, freed = claim(*arguments, **options)
        claimed.extend(tasks)
        return tasks, freed

    monkeypatch.setattr(claims, "claim", first)


async def renewed(task_store: TaskStore, times: int) -> None:
    """Wait until the only task's lease was renewed `times` times."""
    ends: set[float] = set()

    async def holds() -> bool:
        ends.add((await task_store.rows())[0].leased_until)
        return len(ends) > times

    await eventually(holds)


@pytest.mark.usefixtures("claimed_once")
async def test_a_long_handler_keeps_its_task(task_store: TaskStore) -> None:
    held = Held()
    (context,) = await task_store.add(BookSold(book_id="a"))
    async with task_store.member("one", held.router, RENEWING):
        await asyncio.wait_for(held.begun.wait(), 20)
        (before,) = await task_store.rows()
        await renewed(task_store, 5)
        (after,) = await task_store.rows()
        assert after.leased_until > before.leased_until + RENEWING.task_lease_seconds
        assert (after.owner, after.attempt, after.alone) == ("one", before.attempt, False)
        held.may_end.set()
        await eventually(task_store.is_empty)
    assert held.calls == [context.id]


@pytest.mark.usefixtures("claimed_once")
async def test_a_stop_waits_for_running_tasks_and_renews_their_leases(
    task_store: TaskStore,
) -> None:
    held = Held()
    (context,) = await task_store.add(BookSold(book_id="a"))
    async with task_store.member("one", held.router, RENEWING) as one:
        await asyncio.wait_for(held.begun.wait(), 20)
        stopping = asyncio.create_task(one.stop(60))
        await renewed(task_store, 3)
        assert not stopping.done()
        held.may_end.set()
        await stopping
        assert await task_store.is_empty()
    assert held.calls == [context.id]
    assert len(await task_store.written()) == 1


@pytest.mark.parametrize("alone", [False, True])
async def test_a_task_that_does_not_end_before_the_stop_is_released_and_costs_no_try(
    task_store: TaskStore, alone: bool
) -> None:
    begun = asyncio.Event()
    router = EventRouter()

    @router.on(BookSold)
    async def handle(book: BookSold) -> None:
        begun.set()
        await asyncio.sleep(60)

    await task_store.add(BookSold(book_id="a"), alone=alone)
    async with task_store.member("one", router, PATIENT) as one:
        await asyncio.wait_for(begun.wait(), 20)
        await one.stop(0.05)
        (row,) = await task_store.rows()
        assert (row.owner, row.tries) == (None, 0)
    async with task_store.member("two", plain(), PATIENT):
        await eventually(task_store.is_empty)
    assert len(await task_store.written()) == 1


async def test_a_claimed_task_that_has_not_begun_is_released_at_the_stop(
    task_store: TaskStore,
) -> None:
    """Without a release the task would be suspected of having ended the process."""
    await task_store.add(BookSold(book_id="a"))
    gate = Gate()
    async with task_store.member("one", plain(), PATIENT, gate=gate) as one, gate.exclusive():

        async def claimed() -> bool:
            return bool((await task_store.rows())[0].owner == "one")

        await eventually(claimed)
        await one.stop(0.05)
        (row,) = await task_store.rows()
        assert (row.owner, row.alone) == (None, False)


@pytest.mark.parametrize("alone", [False, True])
async def test_a_task_whose_claim_is_in_flight_at_the_stop_is_released_and_costs_no_try(
    task_store: TaskStore, alone: bool
) -> None:
    """The claim is committed before the member knows of it."""
    await task_store.add(BookSold(book_id="a"), alone=alone)
    database = task_store.connect()
    held = Held()
    committed, may_return = asyncio.Event(), asyncio.Event()

    async def return_late(work: Callable[[Transaction], Any], *, urgent: bool = False) -> Any:
        result = await Database.transaction(database, work, urgent=urgent)
        if not committed.is_set() and (await task_store.rows())[0].owner == "one":
            committed.set()
            await may_return.wait()
        return result

    database.transaction = return_late  # type: ignore[method-assign]
    async with task_store.member("one", held.router, PATIENT, database=database) as one:
        await asyncio.wait_for(committed.wait(), 60)
        stopping = asyncio.create_task(one.stop(0.05))
        await asyncio.sleep(0.1)  # The stop would have ended, had it not waited for the claim.
        may_return.set()
        await stopping
        (row,) = await task_store.rows()
        assert (row.owner, row.tries) == (None, 0)


async def test_a_stop_waits_for_a_task_that_runs_alone(task_store: TaskStore) -> None:
    held = Held()
    await task_store.add(BookSold(book_id="a"), alone=True)
    async with task_store.member("one", held.router, PATIENT) as one:
        await asyncio.wait_for(held.begun.wait(), 20)
        stopping = asyncio.create_task(one.stop(20))
        # The stop begins in this turn of the event loop.
        await asyncio.sleep(0)
        held.may_end.set()
        await stopping
        assert await task_store.is_empty()
    assert len(await task_store.written()) == 1


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


async def test_a_task_released_while_its_lease_is_renewed_waits_for_its_due_time(
    task_store: TaskStore,
) -> None:
    """The renewal is committed after the release."""
    await task_store.add(BookSold(book_id="key"))
    (task,) = await task_store.database.transaction(lambda tx: claim(tx, "one"))
    later = time.time() + 3600
    await task_store.database.transaction(
        lambda tx: claims.postpone(tx.session, task, tries=1, due_at=later, reason="no")
    )
    await task_store.database.transaction(lambda tx: claims.renew(tx.session, [task], -1.0))
    seen = await task_store.database.read(lambda tx: queue.find_due(tx.session, TaskFilter(TYPES)))
    assert seen == DueTimes(by_type={TYPES[0]: later})
    assert await task_store.database.transaction(lambda tx: claim(tx, "other")) == []
