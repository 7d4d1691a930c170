"""PostgreSQL and NATS from container images, for CONTAINERS=1."""

import os
import socket
import time
from abc import abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
from testcontainers.core.container import DockerContainer

from localservers import NatsServer, PostgresServer, free_port
from localservers.postgres import create_database

__all__ = ["ContainerNats", "ContainerPostgres"]

# Ryuk, which removes left-over containers, is disabled, because it needs one more image.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

_NATS = "nats:2-alpine"
_POSTGRES = "postgres:18-alpine"
_PASSWORD = "postgres"
_START_SECONDS = 60


class _InContainer:
    """A server in a container, which is removed at the end of the `with` block."""

    _container: DockerContainer | None = None
    _paused = False

    @property
    def running(self) -> bool:
        return self._status() in ("running", "paused")

    def start(self) -> None:
        if self.running:
            return
        if self._container is None:
            self._container = self._new_container()
            self._container.start()
        else:
            self._docker_container().start()
        ends_at = time.monotonic() + _START_SECONDS
        while not self._accepts_connections():
            if time.monotonic() > ends_at:
                raise TimeoutError(f"the container did not answer within {_START_SECONDS} s")
            time.sleep(0.05)

    def stop(self) -> None:
        self.resume()
        if self.running:
            self._docker_container().stop()

    def kill(self) -> None:
        self.resume()
        if self.running:
            self._docker_container().kill()
            self._docker_container().wait()

    def pause(self) -> None:
        self._docker_container().pause()
        self._paused = True

    def resume(self) -> None:
        if self._status() == "paused":
            self._docker_container().unpause()
        self._paused = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._container is not None:
            self._docker_container().remove(force=True, v=True)
            self._container = None

    @abstractmethod
    def _new_container(self) -> DockerContainer: ...

    @abstractmethod
    def _accepts_connections(self) -> bool: ...

    def _docker_container(self) -> Any:
        assert self._container is not None, "start it first"
        return self._container.get_wrapped_container()

    def _status(self) -> str:
        if self._container is None:
            return "none"
        wrapped = self._docker_container()
        wrapped.reload()
        return str(wrapped.status)


class ContainerNats(_InContainer, NatsServer):
    """A nats-server in a container; its store is a folder of this machine."""

    def __init__(self, store: Path) -> None:
        super().__init__(store, free_port())

    def _new_container(self) -> DockerContainer:
        self._jetstream.mkdir(parents=True, exist_ok=True)
        return (
            DockerContainer(_NATS)
            .with_command("-js -sd /data")
            .with_volume_mapping(str(self._jetstream.absolute()), "/data", "rw")
            .with_bind_ports(4222, self.port)
            .with_kwargs(user=f"{os.getuid()}:{os.getgid()}")
        )

    def _accepts_connections(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False


class ContainerPostgres(_InContainer, PostgresServer):
    """A PostgreSQL in a container."""

    def __init__(self, data: Path) -> None:
        super().__init__(data, free_port())

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres:{_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        with self._connect() as connection:
            connection.execute(create_database(name, template))
        return self.url(name)

    def _new_container(self) -> DockerContainer:
        return (
            DockerContainer(_POSTGRES)
            .with_env("POSTGRES_PASSWORD", _PASSWORD)
            .with_command("postgres -c max_connections=200 -c fsync=off")
            .with_bind_ports(5432, self.port)
        )

    def _connect(self) -> psycopg.Connection[Any]:
        url = self.url().replace("+psycopg", "")
        return psycopg.connect(url, autocommit=True, connect_timeout=5)

    def _accepts_connections(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True
