"""Limits of concurrent and of waiting requests; requests above both are refused.

A service that accepts every request becomes slower for all clients and grows until it is killed. A
service that refuses the excess at once answers the requests that it has accepted in time.
"""

import asyncio
from collections import deque

from chassis import deadline
from chassis.errors import Overloaded
from chassis.telemetry import metrics

__all__ = ["Admission"]


class Admission:
    """A limit of `places` concurrent requests, with a first-in-first-out queue of bounded length.

    `what` names the counted requests in errors and in the metric. It is not thread-safe: use it on
    the event loop.
    """

    def __init__(self, what: str, places: int, waiting: int = 0) -> None:
        self._what = what
        self._free = places
        self._max_waiting = waiting
        self._queue: deque[asyncio.Future[None]] = deque()
        self._refused = metrics.REQUESTS_REFUSED.labels(what)

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a place."""
        return len(self._queue)

    async def enter(self) -> None:
        """Occupy a place, waiting behind earlier requests if none is free; call `leave` to free it.

        Raises:
            Overloaded: the queue is full, or the request's deadline passed while it waited.
        """
        if self._free and not self._queue:
            self._free -= 1
            return
        if len(self._queue) >= self._max_waiting:
            raise self._refusal()
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(deadline.remaining()):
                await turn
        except TimeoutError:
            self._stop_waiting(turn)
            raise self._refusal() from None
        except BaseException:
            self._stop_waiting(turn)
            raise

    def enter_at_once(self) -> None:
        """Occupy a place without waiting.

        Raises:
            Overloaded: no place is free.
        """
        if not self._free:
            raise self._refusal()
        self._free -= 1

    def leave(self) -> None:
        """Free a place, or hand it to the request that has waited longest."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _stop_waiting(self, turn: "asyncio.Future[None]") -> None:
        """Leave the queue."""
        if turn.done() and not turn.cancelled():
            # The place was handed over just before the wait ended: pass it on.
            self.leave()
            return
        if turn in self._queue:
            self._queue.remove(turn)

    def _refusal(self) -> Overloaded:
        """Count a refused request and return its error."""
        self._refused.inc()
        return Overloaded(f"too many {self._what} at once; try again in a moment")
