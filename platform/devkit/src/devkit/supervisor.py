"""Supervision: processes and servers that die are started again, with back-off."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from devkit.looks import next_look
from devkit.service_process import HOPELESS, ServiceProcess
from devkit.threads import run_to_its_end
from localservers import ServerFailed

__all__ = ["Server", "back_off_seconds", "supervise", "supervise_servers"]

_FIRST_SECONDS = 0.25
_LONGEST_SECONDS = 10.0
_STABLE_SECONDS = 20.0


class Server(Protocol):
    """The broker, the database server or Envoy."""

    @property
    def pid(self) -> int: ...

    @property
    def running(self) -> bool: ...

    @property
    def log(self) -> Path: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...


def back_off_seconds(failures: int) -> float:
    """Return the wait before the next start, after this number of consecutive failures."""
    return float(min(_FIRST_SECONDS * 2 ** min(max(failures - 1, 0), 30), _LONGEST_SECONDS))


async def supervise(
    processes: Sequence[ServiceProcess], report: Callable[[str, str], None]
) -> None:
    """Restart processes that die, until cancelled.

    `report` is called with a process's name and what happened to it.
    """
    await asyncio.gather(*(_supervise_process(process, report) for process in processes))


async def supervise_servers(
    servers: Mapping[str, Server], report: Callable[[str, str], None]
) -> None:
    """Restart servers that die, until cancelled; like `supervise`."""
    await asyncio.gather(
        *(_supervise_server(name, server, report) for name, server in servers.items())
    )


async def _supervise_server(name: str, server: Server, report: Callable[[str, str], None]) -> None:
    """Start a server again whenever it has ended, after a growing pause, until cancelled."""
    failures = 0
    started_at = time.monotonic()
    what = "ended"
    while True:
        await next_look()
        if server.running:
            continue
        failures = 1 if time.monotonic() - started_at > _STABLE_SECONDS else failures + 1
        wait = back_off_seconds(failures)
        report(name, f"{what}; starting it again in {wait:g} s")
        await asyncio.sleep(wait)
        started_at = time.monotonic()
        try:
            await run_to_its_end(server.start)
            what = "ended"
        except ServerFailed as error:
            what = str(error)


async def _supervise_process(process: ServiceProcess, report: Callable[[str, str], None]) -> None:
    """Start a service again whenever it has ended by itself, after a growing pause."""
    failures = 0
    while True:
        await next_look()
        if process.running or not process.wanted:
            continue
        run = process.pid
        code = process.exit_code
        if code in HOPELESS:
            report(process.name, f"ended with code {code}; a change of its code starts it again")
            while process.wanted and process.pid == run:
                await next_look()
            continue
        lived = time.monotonic() - process.started_at
        failures = 1 if lived > _STABLE_SECONDS else failures + 1
        wait = back_off_seconds(failures)
        report(process.name, f"ended with code {code}; starting it again in {wait:g} s")
        await asyncio.sleep(wait)
        # It may have been started or stopped during the wait.
        if process.wanted and not process.running and process.pid == run:
            process.restarts += 1
            process.start()
