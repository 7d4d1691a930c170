"""Limits of a replay: baskets per second, requests in flight, and orders that have not ended."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from demo.record import Record

__all__ = ["Backlog", "Concurrency", "RateLimit"]

_TOO_BUSY = frozenset(("429", "503", "504", "ReadTimeout"))
_POLL_SECONDS = 0.5


class RateLimit:
    """A maximum number of baskets per second; None for no limit."""

    def __init__(self, per_second: float | None) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._next_at = 0.0

    async def wait(self) -> None:
        """Return when the next basket may be sent."""
        if self._interval:
            now = time.monotonic()
            turn = max(self._next_at, now)
            self._next_at = turn + self._interval
            await asyncio.sleep(turn - now)


class Concurrency:
    """A maximum number of requests in flight, which adapts to the gateway as TCP does.

    It is halved, at most once a second, after an answer that the gateway is too busy, and grows by
    one after each answered round of requests in flight.
    """

    def __init__(self, maximum: int, *, adapts: bool) -> None:
        self._maximum = maximum
        self._adapts = adapts
        self._limit = float(maximum)
        self._in_flight = 0
        self._halved_at = 0.0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait until a request may be sent, and count it as in flight until the block is left."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._in_flight < int(self._limit))
            self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            async with self._changed:
                self._changed.notify_all()

    def adapt(self, failure: str | None) -> None:
        """Adapt the limit to an answer: a failure, or None if the request succeeded."""
        if not self._adapts:
            return
        now = time.monotonic()
        if failure is None:
            self._limit = min(self._maximum, self._limit + 1 / self._limit)
        elif failure in _TOO_BUSY and now - self._halved_at > 1:
            self._limit = max(1.0, self._limit / 2)
            self._halved_at = now


class Backlog:
    """The placed orders. It holds baskets back while an order takes too long to end."""

    def __init__(
        self,
        is_pending: Callable[[str], Awaitable[bool]],
        record: Record,
        patience: float,
        on_progress: Callable[[Record], None],
    ) -> None:
        self._is_pending = is_pending
        self._record = record
        self._patience = patience
        self._on_progress = on_progress
        self._placed: deque[tuple[float, str]] = deque()
        self._free = asyncio.Event()
        self._free.set()

    def add(self, order_id: str) -> None:
        """Add an order that was just placed."""
        self._placed.append((time.monotonic(), order_id))

    async def wait(self) -> None:
        """Return when no order takes too long to end."""
        await self._free.wait()

    async def watch(self, ends_within: float) -> None:
        """Hold baskets back whenever an order is pending for more than `ends_within` seconds.

        One order is read per poll, the newest of those that should have ended, because older ones
        have usually ended before it.
        """
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            order_id = ""
            while self._placed and time.monotonic() - self._placed[0][0] > ends_within:
                _, order_id = self._placed.popleft()
            if order_id and await self._is_pending(order_id):
                await self._hold_until_ended(order_id)

    async def _hold_until_ended(self, order_id: str) -> None:
        """Hold baskets back until an order has ended, but at most for `patience` seconds.

        After that time the replay continues; if the order never ends, it breaks a law.
        """
        began = time.monotonic()
        held_before = self._record.held_seconds
        self._record.held = True
        self._free.clear()
        try:
            while await self._is_pending(order_id) and time.monotonic() - began < self._patience:
                self._on_progress(self._record)
                await asyncio.sleep(_POLL_SECONDS)
                self._record.held_seconds = held_before + time.monotonic() - began
        finally:
            self._record.held = False
            self._free.set()
