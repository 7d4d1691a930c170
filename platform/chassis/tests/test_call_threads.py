"""Calls on threads: their results, errors and context, their order, and their end."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from chassis.call_threads import CallThreads

pytestmark = pytest.mark.unit

_named: ContextVar[str] = ContextVar("named")


def _raise(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


async def test_a_call_runs_on_a_thread_within_its_callers_context() -> None:
    threads = CallThreads(2, "calls")
    _named.set("caller")
    thread, named = await threads.run(lambda: (threading.current_thread().name, _named.get()))
    assert thread.startswith("calls_")
    assert named == "caller"
    assert await threads.run(max, 3, 7) == 7
    threads.close()


@pytest.mark.parametrize("error", [ValueError("wrong"), SystemExit(3), KeyboardInterrupt()])
async def test_an_error_reaches_the_caller(error: BaseException) -> None:
    threads = CallThreads(1, "calls")
    caught: BaseException | None = None
    try:
        await threads.run(_raise(error))
    except BaseException as raised:
        caught = raised
    assert caught is error
    assert await threads.run(max, 3, 7) == 7
    threads.close()


async def test_a_call_that_raises_stop_iteration_fails_instead_of_hanging() -> None:
    threads = CallThreads(1, "calls")
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(threads.run(next, iter(())), 30)
    threads.close()


async def test_waiting_calls_are_made_in_order_by_at_most_two_threads() -> None:
    threads = CallThreads(2, "calls")
    begun: list[int] = []
    both, go_on = threading.Barrier(3), threading.Event()

    def call(number: int) -> None:
        begun.append(number)
        if number < 2:
            both.wait(30)
            go_on.wait(30)

    calls = [asyncio.create_task(threads.run(call, number)) for number in range(3)]
    await asyncio.to_thread(both.wait, 30)
    assert sorted(begun) == [0, 1]
    go_on.set()
    await asyncio.gather(*calls)
    assert begun[2] == 2
    threads.close()


async def test_a_call_whose_caller_is_cancelled_before_it_begins_is_not_made() -> None:
    threads = CallThreads(1, "calls")
    go_on = threading.Event()
    made: list[int] = []
    first = asyncio.create_task(threads.run(go_on.wait, 30))
    second = asyncio.create_task(threads.run(made.append, 2))
    await asyncio.sleep(0)
    second.cancel()
    go_on.set()
    assert await first
    assert await threads.run(max, 3, 7) == 7
    assert second.cancelled()
    assert not made
    threads.close()


async def test_closing_cancels_what_waits_and_lets_what_runs_end() -> None:
    threads = CallThreads(1, "calls")
    begun, go_on = threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        go_on.wait(30)
        return "ended"

    running = asyncio.create_task(threads.run(call))
    await asyncio.to_thread(begun.wait, 30)
    waiting = asyncio.create_task(threads.run(call))
    await asyncio.sleep(0)
    threads.close()
    go_on.set()
    assert await running == "ended"
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(RuntimeError, match="closed"):
        await threads.run(call)


async def test_closing_can_wait_until_all_calls_are_made() -> None:
    threads = CallThreads(1, "calls")
    begun, go_on = threading.Event(), threading.Event()
    made: list[int] = []

    def call(number: int) -> None:
        begun.set()
        go_on.wait(30)
        made.append(number)

    calls = [asyncio.create_task(threads.run(call, number)) for number in (1, 2)]
    await asyncio.to_thread(begun.wait, 30)
    closing = asyncio.create_task(asyncio.to_thread(threads.close, wait=True))
    go_on.set()
    await closing
    await asyncio.gather(*calls)
    assert made == [1, 2]


async def test_threads_start_when_calls_overlap_and_end_with_their_object() -> None:
    threads = CallThreads(3, "overlapping")

    def running() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name.startswith("overlapping_")]

    assert not running()
    for _ in range(3):
        await threads.run(max, 3, 7)
    assert len(running()) == 1
    both = threading.Barrier(2)
    await asyncio.gather(threads.run(both.wait, 30), threads.run(both.wait, 30))
    started = running()
    assert len(started) == 2
    del threads
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()


def test_a_call_that_outlives_its_loop_is_dropped() -> None:
    begun, go_on = threading.Event(), threading.Event()
    threads = CallThreads(1, "calls")

    def call() -> None:
        begun.set()
        go_on.wait(30)

    async def leave() -> None:
        task = asyncio.create_task(threads.run(call))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()

    asyncio.run(leave())
    go_on.set()

    async def call_again() -> int:
        return await threads.run(max, 3, 7)

    assert asyncio.run(call_again()) == 7
    threads.close()
