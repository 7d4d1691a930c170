"""A cancelled task ends, at any moment of its cancellation."""

import asyncio

import pytest

from chassis.events.waiting import end, wait_at_most

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("steps", range(5))
async def test_a_cancellation_that_comes_with_the_event_is_not_lost(steps: int) -> None:
    event, rounds = asyncio.Event(), 0

    async def wait_again_and_again() -> None:
        nonlocal rounds
        while True:
            event.clear()
            await wait_at_most(event, 60)
            rounds += 1

    task = asyncio.create_task(wait_again_and_again())
    await asyncio.sleep(0.01)
    event.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    assert task.cancelled()


async def test_a_task_that_loses_its_first_cancellation_is_ended_by_the_next() -> None:
    lost = 0

    async def ignore_first() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost += 1

    task = asyncio.create_task(ignore_first())
    await asyncio.sleep(0)
    await end([task])
    assert lost == 1
    assert task.cancelled()
