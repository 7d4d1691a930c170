"""The wait for an event stream that follows an order."""

import asyncio

from gateway.wakeups import Wakeups

__all__ = ["until_followed"]


async def until_followed(wakeups: Wakeups, order_id: str) -> None:
    """Return when a stream waits for events of the order, after at most 30 s."""
    async with asyncio.timeout(30):
        while order_id not in wakeups.order_ids():
            await asyncio.sleep(0.01)
