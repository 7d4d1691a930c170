"""Waiting for an asyncio event with a time limit, and for tasks to end."""

import asyncio
from collections.abc import Iterable
from typing import Any

__all__ = ["end", "is_being_cancelled", "wait_at_most"]

_CANCEL_AGAIN_SECONDS = 0.5


async def wait_at_most(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for at most `seconds`, and return whether it was set."""
    # asyncio.wait_for is not used because it loses a cancellation that comes at the same moment as
    # the event (before Python 3.12).
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def is_being_cancelled() -> bool:
    """Return whether the current task is being cancelled.

    Otherwise a CancelledError was raised by what the task awaited.
    """
    running = asyncio.current_task()
    return running is not None and running.cancelling() > 0


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended.

    A single cancellation may not be enough: a library that waits by asyncio.wait_for may lose it.
    """
    tasks = list(tasks)
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
