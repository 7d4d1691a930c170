"""Real parts for each test: a nats-server of its own, and each database in turn."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from replicas import Replicas

from chassis.testing import NatsServer, PostgresServer


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Gives the URL of a new, empty database."""
    if request.param == "sqlite":
        return lambda name: f"sqlite:///{tmp_path}/{name}.db"
    server: PostgresServer = request.getfixturevalue("postgres")

    def create(name: str) -> str:
        unique = f"{name}_{uuid.uuid4().hex[:8]}"
        server.create_database(unique)
        return server.url(unique)

    return create


@pytest.fixture(scope="session")
def _replicas() -> Iterator[Replicas]:
    replicas = Replicas()
    yield replicas
    replicas.close()


@pytest.fixture
def replicas(_replicas: Replicas) -> Iterator[Replicas]:
    """Starts replicas in processes of their own; at the end they are killed."""
    yield _replicas
    _replicas.end()
