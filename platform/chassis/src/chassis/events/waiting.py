"""Waiting for an event of the loop, or for a time; and for tasks to end."""

import asyncio
from collections.abc import Iterable
from typing import Any

__all__ = ["end", "is_being_cancelled", "wait_at_most"]

_AGAIN_SECONDS = 0.5


async def wait_at_most(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set within `seconds`."""
    # Not asyncio.wait_for: before Python 3.12 it loses a cancellation that comes with the event.
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def is_being_cancelled() -> bool:
    """Whether somebody cancels this asyncio task, rather than what it awaited said so."""
    running = asyncio.current_task()
    return running is not None and running.cancelling() > 0


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, as often as it takes, and return when all have ended.

    A library that waits by asyncio.wait_for may lose a cancellation.
    """
    tasks = list(tasks)
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
