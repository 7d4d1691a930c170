"""The limits of a replay."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from demo.pacing import Concurrency

pytestmark = pytest.mark.unit


async def slots(concurrency: Concurrency) -> int:
    """Return how many requests may be in flight."""
    count = 0
    async with AsyncExitStack() as stack:
        while True:
            try:
                async with asyncio.timeout(0):
                    await stack.enter_async_context(concurrency.slot())
            except TimeoutError:
                return count
            count += 1


async def test_answers_that_the_gateway_is_too_busy_halve_the_limit_once_a_second() -> None:
    concurrency = Concurrency(16, adapts=True)
    assert await slots(concurrency) == 16
    for _ in range(16):
        concurrency.adapt("503")
    assert await slots(concurrency) == 8


async def test_the_limit_grows_by_one_after_an_answer_to_each_request_in_flight() -> None:
    concurrency = Concurrency(16, adapts=True)
    concurrency.adapt("ReadTimeout")
    for _ in range(9):
        concurrency.adapt(None)
    assert await slots(concurrency) == 9


async def test_the_limit_never_exceeds_its_maximum() -> None:
    concurrency = Concurrency(4, adapts=True)
    for _ in range(100):
        concurrency.adapt(None)
    assert await slots(concurrency) == 4


async def test_other_failures_do_not_change_the_limit() -> None:
    concurrency = Concurrency(16, adapts=True)
    concurrency.adapt("ConnectError")
    assert await slots(concurrency) == 16


async def test_a_limit_that_does_not_adapt_stays() -> None:
    concurrency = Concurrency(16, adapts=False)
    concurrency.adapt("503")
    assert await slots(concurrency) == 16
