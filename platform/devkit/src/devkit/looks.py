"""The times at which the runner looks at its processes and at their logs."""

import asyncio
import time

__all__ = ["next_look"]

_LOOK_SECONDS = 0.25


async def next_look() -> None:
    """Wait until the next full quarter of a second of the monotonic clock.

    All looks are made then, because waking up costs the runner more than looking does.
    """
    await asyncio.sleep(_LOOK_SECONDS - time.monotonic() % _LOOK_SECONDS)
