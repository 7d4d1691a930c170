"""Wake-ups of the event streams that follow an order, when an event about it arrives."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Wakeups", "wakeups"]


class Wakeups:
    """The event streams of this process that wait, by order."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def waiting_for(self, order_id: str) -> Iterator[asyncio.Event]:
        """Yield an asyncio.Event that `wake` sets, until the block is left."""
        woken = asyncio.Event()
        waiting = self._waiting.setdefault(order_id, set())
        waiting.add(woken)
        try:
            yield woken
        finally:
            waiting.discard(woken)
            if not waiting and self._waiting.get(order_id) is waiting:
                del self._waiting[order_id]

    def wake(self, order_id: str) -> None:
        """Wake all streams that wait for an event about the order."""
        for woken in self._waiting.get(order_id, ()):
            woken.set()

    def order_ids(self) -> set[str]:
        """Return the orders that streams wait for."""
        return set(self._waiting)


wakeups = Wakeups()
"""The wakeups of this process, which connect the broadcast handlers to the HTTP API."""
