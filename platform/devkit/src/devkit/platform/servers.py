"""The broker and the database server of a platform."""

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

from devkit.errors import DevkitError
from devkit.platform.options import PlatformOptions
from devkit.services import nats_port
from devkit.state import ServerState
from devkit.supervisor import Server
from localservers import NatsServer, PostgresServer, ServerFailed

__all__ = ["Servers"]


class Servers:
    """The broker, and a PostgreSQL where databases are not files. Their data outlive them."""

    def __init__(self, options: PlatformOptions, data: Path) -> None:
        self._options = options
        self._data = data
        self._pids: dict[str, int] = {}
        self.broker: NatsServer | None = None
        self.postgres: PostgresServer | None = None

    @property
    def ports(self) -> dict[str, int]:
        """Each server's port, by name; 0 for one that is free at the start."""
        options = self._options
        ports = {"nats": options.ports.get("nats", 0 if options.free_ports else nats_port())}
        if options.database == "postgres":
            ports["postgres"] = options.ports.get("postgres", 0)
        return ports

    def start(self, broker_config: str, databases: Iterable[str]) -> None:
        """Start them, and make the databases of these services.

        Raises:
            DevkitError: a server does not start.
        """
        ports = self.ports
        self.broker = NatsServer(self.folder("nats"), ports["nats"], config=broker_config)
        try:
            self.broker.start()
            if "postgres" in ports:
                self.postgres = PostgresServer(self._data / "postgres", ports["postgres"])
                self.postgres.start()
                _create_databases(self.postgres, databases)
        except ServerFailed as error:
            raise DevkitError(str(error)) from error

    async def stop(self) -> None:
        """Stop them; the error of one that cannot be stopped is raised when all have been told."""
        stops = (asyncio.to_thread(server.stop) for server in self.made.values())
        results = await asyncio.gather(*stops, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def kill(self) -> None:
        """SIGKILL to both."""
        for server in self.made.values():
            server.kill()

    @property
    def made(self) -> dict[str, Server]:
        """Those that have been started, by name."""
        servers = {"nats": self.broker, "postgres": self.postgres}
        return {name: server for name, server in servers.items() if server is not None}

    def database_url(self, service: str) -> str:
        """Where a service keeps its tables."""
        if self.postgres is not None:
            return self.postgres.url(service)
        from chassis.database.engine import sqlite_url

        return sqlite_url(self._data / "data" / f"{service}.db")

    def pid(self, name: str) -> int:
        """The process of a server, also of one that has ended: so others see that it is down."""
        with contextlib.suppress(ServerFailed):
            self._pids[name] = self.made[name].pid
        return self._pids.get(name, 0)

    def states(self) -> list[ServerState]:
        """What other terminals are told of them."""
        urls = {}
        if self.broker is not None:
            urls["nats"] = self.broker.url
        if self.postgres is not None:
            urls["postgres"] = self.postgres.url()
        return [
            ServerState(name, urls[name], self.pid(name), str(server.log))
            for name, server in self.made.items()
        ]

    def folder(self, name: str) -> Path:
        """The folder of what belongs to one kind of database, such as a stream to its writer."""
        kind = self._options.database
        return self._data / (name if kind == "sqlite" else f"{name}-{kind}")


def _create_databases(postgres: PostgresServer, names: Iterable[str]) -> None:
    import psycopg

    for name in names:
        with contextlib.suppress(psycopg.errors.DuplicateDatabase):
            postgres.create_database(name)
