"""The process of one replica of a service: start, signals, and waiting for it."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from devkit.errors import DevkitError
from devkit.fork_server.connection import ForkedProcess
from devkit.fork_server.servers import start_forked
from devkit.readiness import is_ready
from devkit.replica import Replica
from localservers.process import ChildProcess

__all__ = ["HOPELESS", "POLL_SECONDS", "ServiceProcess"]

# Exit codes of sysexits.h for wrong settings or a wrong definition: a restart changes nothing.
HOPELESS = (70, 78)

POLL_SECONDS = 0.05
_READY_SECONDS = 0.1
_LOG_TAIL_LINES = 15
_MOST_DEATHS_WHILE_WAITING = 3


@dataclass(kw_only=True, eq=False)
class ServiceProcess(Replica):
    """A replica run by `python -m <package>`, as in production.

    Where that is possible it is forked from a process that has imported the libraries. On Linux
    the kernel kills it when the runner ends, however the runner ends.

    Attributes:
        supervised: whether the runner starts it again when it dies.
        start_forked: starts it as a fork, or returns None where that is not possible.
        wanted: whether it should run: True from `start` to `terminate`.
        restarts: how many times the runner has started it again.
        started_at: the time of the last start, by the monotonic clock.
    """

    supervised: bool = False
    start_forked: Callable[[Replica], ForkedProcess | None] = start_forked
    wanted: bool = field(default=False, init=False)
    restarts: int = field(default=0, init=False)
    started_at: float = field(default=0.0, init=False)
    _child: ChildProcess | ForkedProcess | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """The id of the running or last process. Raises DevkitError before the first start."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether the process lives, paused or not."""
        return self._child is not None and self._child.running

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last run, negative for a signal; None while it runs."""
        return self._child.exit_code if self._child else None

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the process and return at once; do nothing if it runs.

        `environment` is added to its variables for this and every later start.
        """
        self.wanted = True
        self.environment |= environment or {}
        if not self.running:
            self._child = self.start_forked(self) or self._start_alone()
            self.started_at = time.monotonic()

    def kill(self) -> None:
        """Send SIGKILL and wait for the end, as in a crash: a supervised process is restarted."""
        if self._child is not None:
            self._child.kill()

    def terminate(self) -> None:
        """Send SIGTERM and return at once. The runner restarts it only after `start`."""
        self.wanted = False
        if self._child is not None:
            self._child.send(signal.SIGCONT)
            self._child.send(signal.SIGTERM)

    def pause(self) -> None:
        """Send SIGSTOP: connections stay open and the process does not answer."""
        self._started().send(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        self._started().send(signal.SIGCONT)

    async def is_ready(self) -> bool:
        """Return whether /readyz answers 200 now."""
        return self.running and await is_ready(self.http_port)

    async def wait_ready(self, timeout: float = 30) -> None:
        """Wait for at most `timeout` seconds until /readyz answers 200.

        Raises:
            DevkitError: the time is over, the process ended and is not restarted, or it died three
                times meanwhile; the message has the end of its log.
        """
        deadline = time.monotonic() + timeout
        restarts_before = self.restarts
        while not await self.is_ready():
            if not self.running and not self._will_be_restarted():
                raise DevkitError(self._report("ended"))
            deaths = self.restarts - restarts_before + (not self.running)
            if deaths >= _MOST_DEATHS_WHILE_WAITING:
                raise DevkitError(self._report(f"ended {deaths} times"))
            if time.monotonic() > deadline:
                raise DevkitError(self._report(f"was not ready after {timeout:g} s"))
            await asyncio.sleep(_READY_SECONDS)

    async def wait_ended(self, timeout: float = 30) -> int:
        """Wait for at most `timeout` seconds until the process ends; return its exit code.

        Raises:
            DevkitError: it still runs.
        """
        deadline = time.monotonic() + timeout
        while self.running:
            if time.monotonic() > deadline:
                raise DevkitError(self._report(f"did not end within {timeout:g} s"))
            await asyncio.sleep(POLL_SECONDS / 5)
        return self.exit_code or 0

    async def stop(self, grace: float = 25) -> None:
        """Send SIGTERM and wait; send SIGKILL after `grace` seconds."""
        self.terminate()
        try:
            await self.wait_ended(grace)
        except DevkitError:
            self.kill()

    def _will_be_restarted(self) -> bool:
        return self.wanted and self.supervised and self.exit_code not in HOPELESS

    def _start_alone(self) -> ChildProcess:
        """Start a process that imports everything itself."""
        return ChildProcess(
            [sys.executable, "-m", self.package, *self.arguments],
            log=self.log,
            cwd=self.folder,
            environment=os.environ | self.environment,
        )

    def _started(self) -> ChildProcess | ForkedProcess:
        if self._child is None:
            raise DevkitError(f"{self.name} was never started")
        return self._child

    def _report(self, what: str) -> str:
        code = "" if self.exit_code is None else f" (exit code {self.exit_code})"
        tail = "\n".join(f"  {line}" for line in self.lines()[-_LOG_TAIL_LINES:])
        return f"{self.name} {what}{code}. The end of {self.log}:\n{tail}"
