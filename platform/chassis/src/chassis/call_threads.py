"""Threads that make calls for event loops.

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
    """Up to `size` threads, named after `name`, which start when they are needed.

    Those calls that wait for a thread are made in their order. Threads end with their object.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[Thread] = []
        # Calls that wait or run. The number is exact if all of them come from one event loop;
        # otherwise a thread may start too early.
        self._open = 0
        self._closed = False

    def __del__(self) -> None:
        self._let_threads_end()

    async def run(self, call: Callable[..., T], *arguments: object) -> T:
        """Make a call on a thread, within the context variables of the caller.

        A call that has begun ends, even if its caller has been cancelled.

        Raises:
            RuntimeError: the threads are closed.
        """
        if self._closed:
            raise RuntimeError(f"the threads {self._name!r} are closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((future, contextvars.copy_context(), call, arguments))
        self._open += 1
        try:
            if self._open > len(self._threads) < self._size:
                self._start()
            return await future
        finally:
            self._open -= 1

    def close(self, *, wait: bool = False) -> None:
        """End the threads; cancel calls that have not begun, or with `wait` make all calls first.

        Without `wait` a call that hangs keeps nothing waiting.
        """
        self._closed = True
        if wait:
            self._let_threads_end()
            for thread in self._threads:
                thread.join()
            return
        try:
            while waiting := self._calls.get_nowait():
                waiting[0].cancel()
        except Empty:
            pass
        self._let_threads_end()

    def _let_threads_end(self) -> None:
        for _ in self._threads:
            self._calls.put(None)

    def _start(self) -> None:
        """Start one more thread."""
        name = f"{self._name}_{len(self._threads)}"
        # Daemon threads do not keep a process that ends while one of their calls hangs. A thread
        # does not refer to this object, which could never be collected otherwise.
        thread = Thread(target=_make_calls, args=(self._calls,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)


def _make_calls(calls: "SimpleQueue[_Call | None]") -> None:
    """Make calls until there is None instead of one."""
    # `_make` keeps the call, so that a thread that waits for the next one holds nothing of it.
    while _make(calls.get()):
        pass


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
