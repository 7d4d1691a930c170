"""Threads that run transactions, so that the event loop does not wait for the database."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

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
        self._writing = ThreadPoolExecutor(writers, thread_name_prefix="transaction")
        self._urgent = (
            ThreadPoolExecutor(1, thread_name_prefix="urgent") if urgent else self._writing
        )
        self._reading = ThreadPoolExecutor(readers, thread_name_prefix="read")
        self._begun: dict[int, float] = {}

    async def write(self, call: Callable[[A], T], argument: A, *, urgent: bool = False) -> T:
        """Run a call on a thread for writing, or on the urgent one."""
        return await _run(self._urgent if urgent else self._writing, self._tracked, call, argument)

    async def read(self, call: Callable[[A], T], argument: A) -> T:
        """Run a call on a thread for reading."""
        return await _run(self._reading, call, argument)

    def running(self) -> list[RunningTransaction]:
        """Return the writing transactions that occupy a thread now."""
        now = time.monotonic()
        return [RunningTransaction(t, begun, now - begun) for t, begun in list(self._begun.items())]

    def close(self) -> None:
        """Wait until all calls have returned, then end the threads."""
        for executor in (self._writing, self._urgent, self._reading):
            executor.shutdown(wait=True)

    def _tracked(self, call: Callable[[A], T], argument: A) -> T:
        """Make a call, noting when it began on this thread."""
        thread = threading.get_ident()
        self._begun[thread] = time.monotonic()
        try:
            return call(argument)
        finally:
            del self._begun[thread]


async def _run(executor: ThreadPoolExecutor, call: Callable[..., T], *arguments: object) -> T:
    """Run a call on a thread, within the context variables of the caller."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, context.run, call, *arguments)
