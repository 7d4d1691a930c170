"""Limits of concurrent and of waiting requests; requests above both are refused.

A service that takes whatever comes gets slower for everybody and grows until it is killed. One
that refuses the excess at once keeps its promise to those it has accepted.
"""

import asyncio
from collections import deque

from chassis import deadline
from chassis.errors import Overloaded
from chassis.telemetry import metrics

__all__ = ["Admission"]


class Admission:
    """A number of places, and a queue of bounded length before them: first come, first served.

    `what` names what is counted, in the answer and in the metric. Used on the event loop only.
    """

    def __init__(self, what: str, places: int, waiting: int = 0) -> None:
        self._what = what
        self._free = places
        self._most_waiting = waiting
        self._queue: deque[asyncio.Future[None]] = deque()
        self._refused = metrics.REQUESTS_REFUSED.labels(what)

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a place."""
        return len(self._queue)

    async def enter(self) -> None:
        """Take a place, at once or after those who came before. Who has entered must leave.

        Raises:
            Overloaded: too many wait already, or the deadline passed while waiting.
        """
        if self._free and not self._queue:
            self._free -= 1
            return
        if len(self._queue) >= self._most_waiting:
            raise self._overloaded()
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(deadline.remaining()):
                await turn
        except TimeoutError:
            self._give_up(turn)
            raise self._overloaded() from None
        except BaseException:
            self._give_up(turn)
            raise

    def enter_at_once(self) -> None:
        """Take a place without waiting.

        Raises:
            Overloaded: none is free.
        """
        if not self._free:
            raise self._overloaded()
        self._free -= 1

    def leave(self) -> None:
        """Give the place to who has waited longest."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _give_up(self, turn: "asyncio.Future[None]") -> None:
        if turn.done() and not turn.cancelled():
            # Its turn had come in the very moment in which it went away.
            self.leave()
            return
        if turn in self._queue:
            self._queue.remove(turn)

    def _overloaded(self) -> Overloaded:
        self._refused.inc()
        return Overloaded(f"too many {self._what} at once; try again in a moment")
