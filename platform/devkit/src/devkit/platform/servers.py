"""The broker, the database server and the Envoy of a platform."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from devkit.errors import DevkitError
from devkit.platform.options import PlatformOptions
from devkit.ports import FixedPort
from devkit.services import ServiceDefinition, nats_port
from devkit.state import ServerState
from devkit.supervisor import Server
from devkit.workspace import Workspace
from localservers import EnvoyServer, NatsServer, PostgresServer, ServerFailed

__all__ = ["Servers"]


class Servers:
    """The broker, a PostgreSQL unless databases are files, and an Envoy if there are canaries.

    The data of broker and database stay after a stop.
    """

    def __init__(self, options: PlatformOptions, data: Path) -> None:
        self._options = options
        self._data = data
        self._pids: dict[str, int] = {}
        self.broker: NatsServer | None = None
        self.postgres: PostgresServer | None = None
        self.envoy: EnvoyServer | None = None
        self.database_urls: dict[str, str] = {}

    def fixed_ports(self) -> list[FixedPort]:
        """Return the ports that must be free at the start."""
        return [FixedPort(port, name) for name, port in self._ports().items() if port]

    def start(
        self, workspace: Workspace, services: Iterable[ServiceDefinition], keys: Path | None
    ) -> None:
        """Start the servers and create the databases, also of services that are left out.

        Broker and services use the keys in the folder `keys`, if there is one.

        Raises:
            DevkitError: a server does not start.
        """
        config = ""
        if keys is not None:
            from devkit.platform.broker_keys import authorize

            config = authorize(workspace, keys)
        ports = self._ports()
        databases = [service.name for service in services if service.has_database]
        self.broker = NatsServer(self.folder("nats"), ports["nats"], config=config)
        try:
            self.broker.start()
            if "postgres" in ports:
                self.postgres = PostgresServer(self._data / "postgres", ports["postgres"])
                self.postgres.start()
                _create_databases(self.postgres, databases)
        except ServerFailed as error:
            raise DevkitError(str(error)) from error
        self.database_urls = {name: self._database_url(name) for name in databases}

    def start_envoy(self, config: Mapping[str, Any]) -> None:
        """Start an Envoy with a configuration. Raises DevkitError if it does not start."""
        self.envoy = EnvoyServer(self._data / "envoy", config)
        try:
            self.envoy.start()
        except ServerFailed as error:
            raise DevkitError(str(error)) from error

    async def stop(self) -> None:
        """Stop the servers. Raises the error of one that cannot be stopped after stopping all."""
        stops = (asyncio.to_thread(server.stop) for server in self.started.values())
        results = await asyncio.gather(*stops, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def kill(self) -> None:
        """Send SIGKILL to all."""
        for server in self.started.values():
            server.kill()

    @property
    def started(self) -> dict[str, Server]:
        """The servers that have been started, by name."""
        servers = {"nats": self.broker, "postgres": self.postgres, "envoy": self.envoy}
        return {name: server for name, server in servers.items() if server is not None}

    def pid(self, name: str) -> int:
        """Return the id of a server's running or last process; 0 before its first start."""
        with contextlib.suppress(ServerFailed):
            self._pids[name] = self.started[name].pid
        return self._pids.get(name, 0)

    def states(self) -> list[ServerState]:
        """Return what the state file says of each server."""
        urls = {}
        if self.broker is not None:
            urls["nats"] = self.broker.url
        if self.postgres is not None:
            urls["postgres"] = self.postgres.url()
        if self.envoy is not None:
            urls["envoy"] = self.envoy.url
        return [
            ServerState(name, urls[name], self.pid(name), str(server.log))
            for name, server in self.started.items()
        ]

    def folder(self, name: str) -> Path:
        """Return the folder of data that belong to one kind of database, such as the streams."""
        kind = self._options.database
        return self._data / (name if kind == "sqlite" else f"{name}-{kind}")

    def _ports(self) -> dict[str, int]:
        """Return each server's port by its name; 0 stands for any free port."""
        options = self._options
        ports = {"nats": options.ports.get("nats", 0 if options.free_ports else nats_port())}
        if options.database == "postgres":
            ports["postgres"] = options.ports.get("postgres", 0)
        return ports

    def _database_url(self, service: str) -> str:
        if self.postgres is not None:
            return self.postgres.url(service)
        from chassis.sqlite_url import sqlite_url

        return sqlite_url(self._data / "data" / f"{service}.db")


def _create_databases(postgres: PostgresServer, names: Iterable[str]) -> None:
    import psycopg

    for name in names:
        with contextlib.suppress(psycopg.errors.DuplicateDatabase):
            postgres.create_database(name)
