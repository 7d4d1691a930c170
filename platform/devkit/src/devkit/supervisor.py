"""Starts again what dies, with back-off."""

import asyncio
import time
from collections.abc import Callable, Sequence

from devkit.service_process import HOPELESS, POLL_SECONDS, ServiceProcess

__all__ = ["back_off_seconds", "supervise"]

_FIRST_SECONDS = 0.25
_LONGEST_SECONDS = 10.0
_STABLE_SECONDS = 20.0


def back_off_seconds(failures: int) -> float:
    """The wait after so many deaths in a row."""
    return float(min(_FIRST_SECONDS * 2 ** min(max(failures - 1, 0), 30), _LONGEST_SECONDS))


async def supervise(
    processes: Sequence[ServiceProcess], report: Callable[[str, str], None]
) -> None:
    """Runs until cancelled. `report` is told a process's name, and what happened to it."""
    await asyncio.gather(*(_watch_over(process, report) for process in processes))


async def _watch_over(process: ServiceProcess, report: Callable[[str, str], None]) -> None:
    failures = 0
    while True:
        await asyncio.sleep(POLL_SECONDS)
        if process.running or not process.wanted:
            continue
        run = process.pid
        code = process.exit_code
        if code in HOPELESS:
            report(process.name, f"ended with code {code}; it waits for a change of its code")
            while process.wanted and process.pid == run:
                await asyncio.sleep(POLL_SECONDS)
            continue
        lived = time.monotonic() - process.started_at
        failures = 1 if lived > _STABLE_SECONDS else failures + 1
        wait = back_off_seconds(failures)
        report(process.name, f"ended with code {code}; starting it again in {wait:g} s")
        await asyncio.sleep(wait)
        # Somebody may have started it, or stopped it for good, meanwhile.
        if process.wanted and not process.running and process.pid == run:
            process.restarts += 1
            process.start()
