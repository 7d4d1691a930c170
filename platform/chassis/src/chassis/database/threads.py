"""Threads that run transactions, so that the event loop does not wait for the database."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from chassis.call_threads import CallThreads

__all__ = ["RunningTransaction", "TransactionThreads"]

A = TypeVar("A")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunningTransaction:
    """A transaction that occupies a thread.

    `thread` is the thread's ident, `begun` a monotonic time in seconds, `seconds` the time since.
    """

    thread: int
    begun: float
    seconds: float


class TransactionThreads:
    """The threads of one database: for writing, for reading and, if `urgent` is true, one for
    urgent writes that no handler occupies."""

    def __init__(self, writers: int, readers: int, *, urgent: bool) -> None:
        self.writers = writers
        self._writing = CallThreads(writers, "transaction")
        self._urgent = CallThreads(1, "urgent") if urgent else self._writing
        self._reading = CallThreads(readers, "read")
        self._begun: dict[int, float] = {}

    async def write(self, call: Callable[[A], T], argument: A, *, urgent: bool = False) -> T:
        """Run a call on a thread for writing, or on the urgent one."""
        threads = self._urgent if urgent else self._writing
        return await threads.run(self._tracked, call, argument)

    async def read(self, call: Callable[[A], T], argument: A) -> T:
        """Run a call on a thread for reading."""
        return await self._reading.run(call, argument)

    def running(self) -> list[RunningTransaction]:
        """Return the writing transactions that occupy a thread now."""
        now = time.monotonic()
        return [RunningTransaction(t, begun, now - begun) for t, begun in list(self._begun.items())]

    def close(self) -> None:
        """Wait until all calls have returned, then end the threads."""
        for threads in (self._writing, self._urgent, self._reading):
            threads.close(wait=True)

    def _tracked(self, call: Callable[[A], T], argument: A) -> T:
        """Make a call, noting when it began on this thread."""
        thread = threading.get_ident()
        self._begun[thread] = time.monotonic()
        try:
            return call(argument)
        finally:
            del self._begun[thread]
