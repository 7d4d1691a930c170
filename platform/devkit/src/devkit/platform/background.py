"""Background tasks of a running platform: state file, logs, supervision, changes of code."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from devkit.errors import DevkitError
from devkit.log_tail import LogTail
from devkit.looks import next_look
from devkit.platform.options import PlatformOptions
from devkit.platform.replicas import Replicas
from devkit.platform.servers import Servers
from devkit.service_process import ServiceProcess
from devkit.services import ServiceDefinition
from devkit.supervisor import supervise, supervise_servers
from devkit.workspace import Workspace

__all__ = ["Background"]


class Background:
    """The background tasks of a platform.

    `write_state` is called when a process has a new id.
    """

    def __init__(
        self,
        options: PlatformOptions,
        replicas: Replicas,
        servers: Servers,
        write_state: Callable[[], None],
    ) -> None:
        self._options = options
        self._replicas = replicas
        self._servers = servers
        self._write_state = write_state
        self._tails: dict[str, LogTail] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._follower: list[asyncio.Task[None]] = []
        self._readiness: dict[str, asyncio.Task[None]] = {}

    def start(self, workspace: Workspace, definitions: Sequence[ServiceDefinition]) -> None:
        """Start the tasks that the options enable."""
        options = self._options
        tasks = [self._keep_state()]
        if options.on_line is not None:
            self._tails = {
                process.name: LogTail(process.log) for process in self._replicas.processes
            }
            self._follower = [self._in_background(self._follow_logs())]
        if options.restart:
            tasks.append(supervise(self._replicas.processes, self.tell))
        if options.restart_servers:
            tasks.append(supervise_servers(self._servers.started, self.tell))
        if options.watch:
            tasks.append(self._watch(workspace, definitions))
        self._tasks = [self._in_background(task) for task in tasks]

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel all tasks except the reading of logs, and return them."""
        tasks = [*self._tasks, *self._readiness.values()]
        for task in tasks:
            task.cancel()
        return tasks

    async def end(self) -> None:
        """End all tasks except the reading of logs."""
        await asyncio.gather(*self.cancel(), return_exceptions=True)

    async def end_following(self) -> None:
        """End the reading of logs."""
        for task in self._follower:
            task.cancel()
        await asyncio.gather(*self._follower, return_exceptions=True)

    def pass_on_lines(self) -> None:
        """Call `on_line` with the log lines written since the last call."""
        if self._options.on_line is not None:
            for name, tail in self._tails.items():
                for line in tail.new_lines():
                    self._options.on_line(name, line)

    def tell(self, name: str, what: str) -> None:
        """Call `on_event` with what was done to a process, after the lines that it wrote."""
        if self._options.on_event is not None:
            self.pass_on_lines()
            self._options.on_event(name, what)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work as a task whose failure is printed."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._tell_of_failure)
        return task

    def _tell_of_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.tell("runner", f"{type(error).__name__}: {error}")

    async def _keep_state(self) -> None:
        """Write the state again whenever the process id of a service or server has changed."""
        written = self._pids()
        while True:
            await next_look()
            if written != (written := self._pids()):
                self._write_state()

    def _pids(self) -> list[int]:
        servers = (self._servers.pid(name) for name in self._servers.started)
        return [*(process.pid for process in self._replicas.processes), *servers]

    async def _follow_logs(self) -> None:
        while True:
            self.pass_on_lines()
            await next_look()

    async def _watch(self, workspace: Workspace, definitions: Sequence[ServiceDefinition]) -> None:
        """Restart services whose code has changed."""
        # The import is here because watchfiles takes long to load, and only this task needs it.
        from devkit.watch import changed_services

        async for services, files in changed_services(
            workspace, definitions, self._tell_of_polling
        ):
            here = [
                process
                for process in self._replicas.processes
                # The code of a stable version is a checkout.
                if process.service in services and process.track != "stable"
            ]
            names = ", ".join(sorted({file.name for file in files}))
            for service in dict.fromkeys(process.service for process in here):
                self.tell(service, f"{names} changed, restarting")
            began = time.monotonic()
            await self._replicas.restart(here)
            for process in here:
                if process.name in self._readiness:  # An earlier change still waits for readiness.
                    self._readiness[process.name].cancel()
                self._readiness[process.name] = self._in_background(
                    self._tell_when_ready(process, began)
                )

    def _tell_of_polling(self, reason: str) -> None:
        self.tell(
            "runner",
            f"the system does not report changed files ({reason}), so they are polled once a "
            "second; `slipway doctor` says what to do",
        )

    async def _tell_when_ready(self, process: ServiceProcess, began: float) -> None:
        try:
            await process.wait_ready()
        except DevkitError as error:
            self.tell(process.name, str(error))
        else:
            self.tell(process.name, f"ready again after {time.monotonic() - began:.1f} s")
