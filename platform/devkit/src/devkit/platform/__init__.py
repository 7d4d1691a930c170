"""The whole platform on this machine: the broker, the database server, and every service.

async with Platform(PlatformOptions(data=folder, free_ports=True)) as platform:
    await platform.wait_ready()
    print(platform.url("gateway"))
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from devkit.errors import DevkitError
from devkit.fork_server import servers as fork_servers
from devkit.local_canary import CanaryFiles
from devkit.log_tail import set_logs_aside
from devkit.platform.background import Background
from devkit.platform.canaries import Canaries
from devkit.platform.data_folder import StateFile, prepare_data_folder
from devkit.platform.options import PlatformOptions, check_options
from devkit.platform.plan import Ports, Surroundings, processes_of
from devkit.platform.replicas import Replicas
from devkit.platform.servers import Servers
from devkit.ports import ReplicaPorts, assign_ports, check_free
from devkit.service_process import ServiceProcess
from devkit.services import read_services
from devkit.threads import run_to_its_end
from devkit.workspace import find_workspace
from localservers import NatsServer, PostgresServer

__all__ = ["Platform", "PlatformOptions"]

# The libraries that a service imports for a database on PostgreSQL.
_POSTGRES = ("chassis.database.dialects.postgresql", "psycopg")


class Platform:
    """A platform and its processes. On Linux all end with the process that started them."""

    def __init__(self, options: PlatformOptions) -> None:
        self.options = options
        self.workspace = options.workspace or find_workspace()
        self.data = options.data.absolute()
        self._servers = Servers(options, self.data)
        self._replicas = Replicas()
        self._state_file = StateFile(self.data)
        self._background: Background | None = None
        self._canaries = Canaries(options, self.workspace, self.data)
        self._ports: Ports = {}

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

    @property
    def processes(self) -> list[ServiceProcess]:
        """Every replica of every service that runs here."""
        return self._replicas.processes

    def of(self, service: str) -> list[ServiceProcess]:
        """Return the replicas of a service; none if it was left out."""
        return self._replicas.of(service)

    def urls(self, service: str) -> list[str]:
        """Return the HTTP addresses of a service: of Envoy if it has a canary, else of replicas."""
        return [f"http://127.0.0.1:{ports.http}" for ports in self._ports_of(service)]

    def url(self, service: str) -> str:
        """Return the first HTTP address of a service."""
        return self.urls(service)[0]

    def grpc_address(self, service: str) -> str:
        """Return the first address of a service's gRPC."""
        return f"127.0.0.1:{self._ports_of(service)[0].grpc}"

    @property
    def canaries(self) -> list[CanaryFiles]:
        """The files with the weight of each canary."""
        return self._canaries.files

    def folder(self, name: str) -> Path:
        """Return the folder of data that belong to one kind of database, such as the streams."""
        return self._servers.folder(name)

    def databases_left_out(self) -> dict[str, str]:
        """Return the database URL of every service that is left out, by the service's name."""
        urls = self._servers.database_urls
        return {name: url for name, url in urls.items() if not self.of(name)}

    async def start(self) -> None:
        """Start everything; return once the processes run, ready or not.

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
        """Wait for at most `timeout` seconds until every service is ready.

        `on_ready` is called with the name of each process as it becomes ready.

        Raises:
            DevkitError: names every process that is not.
        """
        await self._replicas.wait_ready(timeout, on_ready)

    async def is_ready(self) -> bool:
        """Return whether every service is ready now."""
        return await self._replicas.are_ready()

    async def stop(self) -> None:
        """Stop callers before the services that they call, then the broker and the database."""
        try:
            await self._stop_services()
        finally:  # The servers must end even if the terminal that printed the last line is gone.
            await self._stop_servers()

    def kill(self) -> None:
        """Send SIGKILL to everything, which is safe at any moment."""
        if self._background is not None:
            self._background.cancel()
        self._replicas.kill()
        self._servers.kill()

    def write_state(self) -> None:
        """Tell other terminals what runs now."""
        self._state_file.write(
            self._servers.states(), self._replicas.states(), self._canaries.files
        )

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

    async def _start(self) -> None:
        prepare_data_folder(self.data)
        fork_servers.prepare(also=_POSTGRES if self.options.database == "postgres" else ())
        options, servers, canaries = self.options, self._servers, self._canaries
        definitions = await asyncio.to_thread(read_services, self.workspace)
        check_options(options, definitions)
        chosen = [service for service in definitions if options.chooses(service.name)]
        ports, fixed = assign_ports(
            chosen, replicas=options.replicas, ports=options.ports, free_ports=options.free_ports
        )
        check_free([*servers.fixed_ports(), *fixed])
        await run_to_its_end(canaries.prepare, chosen, ports)
        self._ports = canaries.replace_ports(ports)
        keys = self.data / "keys" if options.broker_keys else None
        await run_to_its_end(servers.start, self.workspace, definitions, keys)
        set_logs_aside(self.data)
        if canaries.fronts:
            await run_to_its_end(servers.start_envoy, canaries.envoy_config())
        surroundings = Surroundings(
            broker_url=self.broker.url,
            database_urls=servers.database_urls,
            keys=keys,
            logs=self.data / "logs",
            folder=self.workspace.root,
        )
        processes = processes_of(chosen, options, self._ports, surroundings, canaries.tracks)
        self._replicas = Replicas(processes, definitions)
        if keys is not None:
            from devkit.platform.broker_keys import apply_all_streams

            await run_to_its_end(apply_all_streams, processes, keys)
        await self._replicas.start()
        self.write_state()
        self._background = Background(options, self._replicas, servers, self.write_state)
        self._background.start(self.workspace, definitions)
        for warning in canaries.warnings:
            self._background.tell("runner", warning)

    def _ports_of(self, service: str) -> list[ReplicaPorts]:
        """Return the ports on which a service is called. Raises DevkitError if it isn't run."""
        found = [own for (name, _), own in self._ports.items() if name == service]
        if not found:
            raise DevkitError(f"{service} is not run here")
        return found

    async def _stop_services(self) -> None:
        if self._background is not None:
            await self._background.end()
        await self._replicas.stop()
        if self._background is not None:
            await self._background.end_following()
            self._background.pass_on_lines()

    async def _stop_servers(self) -> None:
        if self._background is not None:
            await self._background.end_following()
        try:
            await self._servers.stop()
        finally:
            self._state_file.remove()
