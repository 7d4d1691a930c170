"""PostgreSQL and NATS from container images, for CONTAINERS=1."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from testcontainers.core.container import DockerContainer

from chassis.testing import NatsServer, PostgresServer, free_port

__all__ = ["ContainerNats", "ContainerPostgres"]

_NATS = "nats:2-alpine"
_POSTGRES = "postgres:18-alpine"
_PASSWORD = "postgres"


class ContainerNats(NatsServer):
    """A nats-server in a container; its store is a folder of this machine."""

    def __init__(self, store: Path) -> None:
        super().__init__(store, free_port())
        self._container: DockerContainer | None = None

    @property
    def running(self) -> bool:
        return self._container is not None and self._status() in ("running", "paused")

    def start(self) -> None:
        if self.running:
            return
        if self._container is None:
            self._jetstream.mkdir(parents=True, exist_ok=True)
            self._container = (
                DockerContainer(_NATS)
                .with_command("-js -sd /data")
                .with_volume_mapping(str(self._jetstream.absolute()), "/data", "rw")
                .with_bind_ports(4222, self.port)
                .with_kwargs(user=f"{os.getuid()}:{os.getgid()}")
            )
            self._container.start()
        else:
            self._wrapped().start()
        _until(self._answers)

    def stop(self) -> None:
        if self.running:
            self._wrapped().stop()

    def kill(self) -> None:
        if self.running:
            self._wrapped().kill()

    def pause(self) -> None:
        self._wrapped().pause()
        self._paused = True

    def resume(self) -> None:
        self._wrapped().unpause()
        self._paused = False

    def remove(self) -> None:
        """The container's end."""
        if self._container is not None:
            self._wrapped().remove(force=True)
            self._container = None

    def _wrapped(self) -> Any:
        assert self._container is not None
        return self._container.get_wrapped_container()

    def _status(self) -> str:
        wrapped = self._wrapped()
        wrapped.reload()
        return str(wrapped.status)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False


class ContainerPostgres(PostgresServer):
    """A PostgreSQL in a container."""

    def __init__(self, data: Path) -> None:
        super().__init__(data, free_port())
        self._container = (
            DockerContainer(_POSTGRES)
            .with_env("POSTGRES_PASSWORD", _PASSWORD)
            .with_bind_ports(5432, self.port)
        )

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres:{_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self._container.start()
        _until(self._answers)

    def stop(self) -> None:
        self._container.stop()

    def create_database(self, name: str) -> str:
        with self._connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def _connect(self) -> psycopg.Connection[Any]:
        url = self.url().replace("+psycopg", "")
        return psycopg.connect(url, autocommit=True, connect_timeout=2)

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True


def _until(answers: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not answers():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the container did not answer within {seconds:g} s")
        time.sleep(0.05)
