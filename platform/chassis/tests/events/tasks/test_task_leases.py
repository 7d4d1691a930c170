"""A task stays with a member that renews its lease; a member that lost it changes nothing."""

import asyncio
import time

import pytest
from bookshop import eventually, write_down
from held_tasks import PATIENT, RENEWING, TYPES, HeldHandler, claim, plain, renewed
from killers import leases_run_out
from task_store import TaskStore

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from chassis.events.tasks import claims, dead_letter_rows, queue
from chassis.events.tasks.queue import DueTimes, TaskFilter
from chassis.events.tasks.task import ClaimLost

pytestmark = [pytest.mark.dialect, pytest.mark.unit]


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


@pytest.mark.usefixtures("claimed_once")
async def test_a_long_handler_keeps_its_task(task_store: TaskStore) -> None:
    held = HeldHandler()
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
