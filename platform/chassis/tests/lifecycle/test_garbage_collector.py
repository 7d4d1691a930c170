"""The garbage collector: it does not visit what the start of a service has made."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from chassis import _process, garbage

_PROGRAM = """
import gc, chassis
from chassis.garbage import settle
before = len(gc.get_objects())
settle()
# A few more objects were made by the calls themselves.
assert len(gc.get_objects()) < before / 100, (len(gc.get_objects()), before)
assert gc.isenabled() and gc.get_threshold()[0] > 700, gc.get_threshold()
cycle = []
cycle.append(cycle)
del cycle
assert gc.collect() > 0
"""


def test_a_settled_collector_skips_what_exists_and_collects_what_comes() -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True)


async def test_a_service_settles_its_collector_when_it_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[str] = []
    loop = asyncio.get_running_loop()
    handlers: dict[int, Callable[[], object]] = {}

    class Recorded:
        def __init__(self, *_arguments: object, **_named: object) -> None: ...

        async def start(self) -> None:
            steps.append("started")
            loop.call_soon(handlers[signal.SIGTERM])

        async def stop(self) -> None:
            steps.append("stopped")

    def add_signal_handler(number: int, call: Callable[..., object], *arguments: object) -> None:
        handlers[number] = lambda: call(*arguments)

    monkeypatch.setattr(_process, "Lifecycle", Recorded)
    monkeypatch.setattr(garbage, "settle", lambda: steps.append("settled"))
    monkeypatch.setattr(loop, "add_signal_handler", add_signal_handler)
    nothing: Any = None
    await _process._Process(nothing, nothing).run_until_stopped()  # noqa: SLF001
    assert steps == ["started", "settled", "stopped"]
