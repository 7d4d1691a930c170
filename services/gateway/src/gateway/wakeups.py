"""Wakes the event streams that wait for news of an order."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Wakeups", "wakeups"]


class Wakeups:
    """Who waits for which order, in this process."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def waiting_for(self, order_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever there is news of the order, until the block is left."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(order_id, set())
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.discard(event)
            if not waiting and self._waiting.get(order_id) is waiting:
                del self._waiting[order_id]

    def wake(self, order_id: str) -> None:
        """There is news of the order."""
        for event in self._waiting.get(order_id, ()):
            event.set()


wakeups = Wakeups()
"""Those of this process: the broadcast handlers and the HTTP surface meet here."""
