"""The whole platform on this machine: the broker, the database server, and every service.

async with Platform(PlatformOptions(data=folder, free_ports=True)) as platform:
    await platform.wait_ready()
    print(platform.url("gateway"))
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from devkit.errors import DevkitError
from devkit.log_tail import set_logs_aside
from devkit.platform.background import Background
from devkit.platform.options import PlatformOptions, check_options
from devkit.platform.plan import Surroundings, callers_first, processes_of
from devkit.platform.servers import Servers
from devkit.ports import FixedPort, assign_ports, check_free
from devkit.service_process import ServiceProcess
from devkit.services import ServiceDefinition, read_services
from devkit.state import PlatformState, ServiceState, read_state, remove_state, write_state
from devkit.threads import run_to_its_end
from devkit.workspace import find_workspace
from localservers import NatsServer, PostgresServer

__all__ = ["Platform", "PlatformOptions"]


class Platform:
    """A platform and its processes. Nothing of it outlives the process that started it (Linux)."""

    def __init__(self, options: PlatformOptions) -> None:
        self.options = options
        self.workspace = options.workspace or find_workspace()
        self.data = options.data.absolute()
        self.processes: list[ServiceProcess] = []
        self._servers = Servers(options, self.data)
        self._definitions: tuple[ServiceDefinition, ...] = ()
        self._background: Background | None = None
        self._told_others = False
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")

    @property
    def broker(self) -> NatsServer:
        """The broker's process."""
        if self._servers.broker is None:
            raise DevkitError("the platform was not started")
        return self._servers.broker

    @property
    def postgres(self) -> PostgresServer | None:
        """The database server's process; None where databases are files."""
        return self._servers.postgres

    def of(self, service: str) -> list[ServiceProcess]:
        """The replicas of a service; none if it was left out."""
        return [process for process in self.processes if process.service == service]

    def url(self, service: str) -> str:
        """The HTTP address of a service's first replica."""
        for process in self.of(service):
            return process.http_url
        raise DevkitError(f"{service} is not run here")

    def folder(self, name: str) -> Path:
        """The folder of what belongs to one kind of database, such as a stream to its writer."""
        return self._servers.folder(name)

    def databases_left_out(self) -> dict[str, str]:
        """The URL of the database of every service that somebody else runs."""
        return {name: url for name, url in self._database_urls().items() if not self.of(name)}

    async def start(self) -> None:
        """Start everything; returns once the processes run, ready or not.

        Raises:
            DevkitError: something cannot be started; everything is stopped again.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def wait_ready(
        self, timeout: float = 60, on_ready: Callable[[str], None] | None = None
    ) -> None:
        """Wait until every service says that it is ready, for at most `timeout` seconds.

        `on_ready` is called with the name of each process as it gets ready.

        Raises:
            DevkitError: names every process that is not.
        """

        async def wait(process: ServiceProcess) -> None:
            await process.wait_ready(timeout)
            if on_ready is not None:
                on_ready(process.name)

        results = await asyncio.gather(*map(wait, self.processes), return_exceptions=True)
        errors = [str(result) for result in results if isinstance(result, DevkitError)]
        if errors:
            raise DevkitError("\n".join(errors))
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def is_ready(self) -> bool:
        """Whether every service says now that it is ready."""
        return all(await asyncio.gather(*(process.is_ready() for process in self.processes)))

    async def restart(self, services: Iterable[str]) -> None:
        """Stop every replica of these services, and start it again."""
        if self._background is not None:
            await self._background.restart(services)

    async def stop(self) -> None:
        """Stop callers before those they call, then the broker and the database server."""
        try:
            await self._stop_services()
        finally:  # also if nobody is there any more to print a last line for
            await self._stop_servers()

    def kill(self) -> None:
        """SIGKILL to everything: it is safe at any moment, only less polite."""
        if self._background is not None:
            self._background.cancel()
        for process in self.processes:
            process.wanted = False
            process.kill()
        self._servers.kill()

    def write_state(self) -> None:
        """Tell other terminals what runs."""
        state = PlatformState(
            runner_pid=os.getpid(),
            runner_started=psutil.Process().create_time(),
            started_at=self._started_at,
            servers=self._servers.states(),
            services=[
                ServiceState(
                    name=process.name,
                    service=process.service,
                    replica=process.replica,
                    pid=process.pid,
                    http_port=process.http_port,
                    grpc_port=process.grpc_port,
                    restarts=process.restarts,
                    log=str(process.log),
                    environment=process.environment,
                )
                for process in self.processes
            ],
        )
        write_state(self.data, state)
        self._told_others = True

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    # --- start ----------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._refuse_a_second_one()
        self._make_folders()
        options, servers = self.options, self._servers
        self._definitions = await asyncio.to_thread(read_services, self.workspace)
        check_options(options, self._definitions)
        chosen = [service for service in self._definitions if options.chooses(service.name)]
        ports, fixed = assign_ports(
            chosen, replicas=options.replicas, ports=options.ports, free_ports=options.free_ports
        )
        of_servers = (FixedPort(port, name) for name, port in servers.ports.items() if port)
        check_free([*of_servers, *fixed])
        keys = self.data / "keys" if options.broker_keys else None
        await run_to_its_end(self._start_servers, keys)
        set_logs_aside(self.data)
        around = Surroundings(
            broker_url=self.broker.url,
            database_urls=self._database_urls(),
            keys=keys,
            logs=self.data / "logs",
            folder=self.workspace.root,
        )
        self.processes = processes_of(chosen, options, ports, around)
        if keys is not None:
            from devkit.platform.broker_keys import apply_all_streams

            await run_to_its_end(apply_all_streams, self.processes, keys)
        for process in self.processes:
            process.start()
            await asyncio.sleep(0)  # it takes a while on a busy machine, and somebody may stop it
        self.write_state()
        self._background = Background(options, self.processes, servers, self.write_state)
        self._background.start(self.workspace, self._definitions)

    def _refuse_a_second_one(self) -> None:
        state = read_state(self.data)
        if state is not None and state.alive:
            raise DevkitError(
                f"a platform with its data in {self.data} is running already"
                f" (process {state.runner_pid}, since {state.started_at})."
                " `slipway ps` shows it; stop it with Ctrl-C in its terminal."
            )

    def _make_folders(self) -> None:
        try:
            (self.data / "data").mkdir(parents=True, exist_ok=True)
            (self.data / "logs").mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=self.data):
                pass
        except OSError as error:
            raise DevkitError(
                f"{self.data} cannot be written ({error.strerror}), and databases, streams and logs"
                " go there: name another folder with SLIPWAY_STATE=…"
            ) from error

    def _start_servers(self, keys: Path | None) -> None:
        config = ""
        if keys is not None:
            from devkit.platform.broker_keys import authorize

            config = authorize(self.workspace, keys)
        # Databases also for services that somebody else runs.
        self._servers.start(config, [s.name for s in self._definitions if s.has_database])

    def _database_urls(self) -> dict[str, str]:
        return {
            service.name: self._servers.database_url(service.name)
            for service in self._definitions
            if service.has_database
        }

    # --- stop -----------------------------------------------------------------------------------

    async def _stop_services(self) -> None:
        if self._background is not None:
            await self._background.end()
        for group in callers_first(self.processes, self._definitions):
            await asyncio.gather(*(process.stop() for process in group))
        if self._background is not None:
            await self._background.end_following()
            self._background.pass_on_lines()

    async def _stop_servers(self) -> None:
        if self._background is not None:
            await self._background.end_following()
        try:
            await self._servers.stop()
        finally:
            if self._told_others:
                remove_state(self.data)
                self._told_others = False
