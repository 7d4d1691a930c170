"""Threads that make calls for an event loop.

A call costs much less than through a ThreadPoolExecutor, whose futures have locks of their own and
are copied into those of asyncio.
"""

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

__all__ = ["CallThreads"]

T = TypeVar("T")
_Call = tuple["asyncio.Future[Any]", contextvars.Context, Callable[..., Any], tuple[object, ...]]


class CallThreads:
    """Up to `size` threads, named after `name`, which start with the first call.

    All calls come from one event loop. Those that wait for a thread are made in their order.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._closed = False

    async def run(self, call: Callable[..., T], *arguments: object) -> T:
        """Make a call on a thread, within the context variables of the caller.

        A call that has begun ends, even if its caller has been cancelled.

        Raises:
            RuntimeError: the threads are closed.
        """
        if self._closed:
            raise RuntimeError(f"the threads {self._name!r} are closed")
        if not self._threads:
            self._start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((future, contextvars.copy_context(), call, arguments))
        return await future

    def close(self) -> None:
        """End the threads without waiting for calls that hang; cancel those that have not begun."""
        self._closed = True
        try:
            while waiting := self._calls.get_nowait():
                waiting[0].cancel()
        except Empty:
            pass
        for _ in self._threads:
            self._calls.put(None)

    def _start(self) -> None:
        for number in range(self._size):
            # Daemon threads do not keep a process that ends while one of their calls hangs.
            thread = Thread(target=self._work, name=f"{self._name}_{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _work(self) -> None:
        """Make calls until the threads are closed."""
        # `_make` keeps the call, so that a thread that waits for the next one holds nothing of it.
        while self._make(self._calls.get()):
            pass

    @staticmethod
    def _make(taken: _Call | None) -> bool:
        """Make a call and wake its caller; return False if there is none."""
        if taken is None:
            return False
        future, context, call, arguments = taken
        if future.cancelled():
            return True
        result: Any = None
        failure: BaseException | None = None
        try:
            result = context.run(call, *arguments)
        except StopIteration as error:
            # A future refuses this exception, and its caller would wait without end.
            failure = RuntimeError("the call raised StopIteration")
            failure.__cause__ = error
        except BaseException as error:
            failure = error
        # A loop that is closed raises RuntimeError: the caller is gone with it.
        with suppress(RuntimeError):
            future.get_loop().call_soon_threadsafe(_end, future, result, failure)
        return True


def _end(future: "asyncio.Future[Any]", result: object, failure: BaseException | None) -> None:
    """Wake the caller, unless it has been cancelled."""
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
