"""One replica of a service: a process that keeps its ports and its log file over restarts."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from devkit.errors import DevkitError
from devkit.readiness import is_ready
from localservers.process import ChildProcess

__all__ = ["HOPELESS", "POLL_SECONDS", "ServiceProcess"]

# Wrong settings, or a service put together wrongly: trying again changes nothing (sysexits.h).
HOPELESS = (70, 78)

POLL_SECONDS = 0.05
_LOG_TAIL_LINES = 15
_DEATHS = 3


class _Child(ChildProcess):
    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()


class ServiceProcess:
    """`python -m <package>`, started as in production.

    It is killed by the kernel (Linux) when the runner ends, however that happens. `kept_up` says
    that somebody starts it again when it dies.
    """

    def __init__(
        self,
        service: str,
        replica: int,
        *,
        package: str,
        http_port: int,
        grpc_port: int | None,
        environment: Mapping[str, str],
        log: Path,
        cwd: Path,
        kept_up: bool = False,
    ) -> None:
        self.service = service
        self.replica = replica
        self.package = package
        self.http_port = http_port
        self.grpc_port = grpc_port
        self.log = log
        self.restarts = 0
        self.wanted = False
        self.kept_up = kept_up
        self.started_at = 0.0
        self._command = [sys.executable, "-m", package]
        self._environment = dict(environment)
        self._cwd = cwd
        self._child: _Child | None = None

    @property
    def name(self) -> str:
        """`orders`, and for further replicas `orders-1`."""
        return f"{self.service}-{self.replica}" if self.replica else self.service

    @property
    def environment(self) -> dict[str, str]:
        """The variables it is given beside those of the runner."""
        return dict(self._environment)

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc_address(self) -> str:
        """Host and port. Raises DevkitError if the service serves no gRPC."""
        if self.grpc_port is None:
            raise DevkitError(f"{self.service} serves no gRPC")
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def pid(self) -> int:
        """The process's id, also when it has ended. Raises DevkitError before its first start."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether the process lives, paused or not."""
        return self._child is not None and self._child.running

    @property
    def exit_code(self) -> int | None:
        """How the last run ended; negative is a signal, None while it runs."""
        return self._child.exit_code if self._child else None

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it on its ports; returns at once. Nothing happens when it runs.

        `environment` is added to its variables from now on.
        """
        self.wanted = True
        self._environment |= environment or {}
        if not self.running:
            self._child = _Child(
                self._command,
                log=self.log,
                cwd=self._cwd,
                environment=os.environ | self._environment,
            )
            self.started_at = time.monotonic()

    def kill(self) -> None:
        """SIGKILL, and wait till it is gone: a crash, after which the runner may restart it."""
        if self._child is not None:
            self._child.kill()

    def terminate(self) -> None:
        """SIGTERM; returns at once. The runner leaves it down until `start`."""
        self.wanted = False
        if self._child is not None:
            self._child.send(signal.SIGCONT)
            self._child.send(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: its connections stay open and nothing answers."""
        self._started().send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._started().send(signal.SIGCONT)

    async def is_ready(self) -> bool:
        """Whether it answers /readyz with 200 now."""
        return self.running and await is_ready(self.http_port)

    async def wait_ready(self, timeout: float = 30) -> None:
        """Return once /readyz answers 200.

        Raises DevkitError with the end of its log, also if it dies three times meanwhile.
        """
        deadline = time.monotonic() + timeout
        before = self.restarts
        while not await self.is_ready():
            if not self.running and not self._comes_back():
                raise DevkitError(self._report("ended"))
            deaths = self.restarts - before + (not self.running)
            if deaths >= _DEATHS:
                raise DevkitError(self._report(f"ended {deaths} times"))
            if time.monotonic() > deadline:
                raise DevkitError(self._report(f"was not ready after {timeout:g} s"))
            await asyncio.sleep(POLL_SECONDS)

    async def wait_ended(self, timeout: float = 30) -> int:
        """Return its exit code once it has ended. Raises DevkitError if it does not."""
        deadline = time.monotonic() + timeout
        while self.running:
            if time.monotonic() > deadline:
                raise DevkitError(self._report(f"did not end within {timeout:g} s"))
            await asyncio.sleep(POLL_SECONDS / 5)
        return self.exit_code or 0

    async def stop(self, grace: float = 25) -> None:
        """SIGTERM, wait, and SIGKILL when `grace` seconds are over."""
        self.terminate()
        try:
            await self.wait_ended(grace)
        except DevkitError:
            self.kill()

    def lines(self) -> list[str]:
        """What all its runs have written."""
        return (
            self.log.read_text(errors="replace", encoding="utf-8").splitlines()
            if self.log.exists()
            else []
        )

    def _comes_back(self) -> bool:
        return self.wanted and self.kept_up and self.exit_code not in HOPELESS

    def _started(self) -> _Child:
        if self._child is None:
            raise DevkitError(f"{self.name} was never started")
        return self._child

    def _report(self, what: str) -> str:
        code = "" if self.exit_code is None else f" (exit code {self.exit_code})"
        tail = "\n".join(f"  {line}" for line in self.lines()[-_LOG_TAIL_LINES:])
        return f"{self.name} {what}{code}. The end of {self.log}:\n{tail}"
