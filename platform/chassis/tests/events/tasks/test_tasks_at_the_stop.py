"""A member that stops waits for its tasks, and releases those that do not end."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from bookshop import eventually
from held_tasks import PATIENT, RENEWING, HeldHandler, plain, renewed
from task_store import TaskStore

from bookstore.v1 import BookSold
from chassis import EventRouter, Transaction
from chassis.database import Database
from chassis.events.tasks.gate import Gate

pytestmark = [pytest.mark.dialect, pytest.mark.unit]


@pytest.mark.usefixtures("claimed_once")
async def test_a_stop_waits_for_running_tasks_and_renews_their_leases(
    task_store: TaskStore,
) -> None:
    held = HeldHandler()
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
    held = HeldHandler()
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
    held = HeldHandler()
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
