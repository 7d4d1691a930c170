"""Real parts for each test: a nats-server of its own, and each database in turn."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from replicas import Replicas

from chassis.testing import NatsServer, PostgresServer

# CONTAINERS=1: PostgreSQL and NATS as users run them, from container images.
CONTAINERS = os.environ.get("CONTAINERS", "") not in ("", "0")
# What would remove left-over containers is one more image; each container here has an end.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    if not CONTAINERS:
        with NatsServer(tmp_path / "nats") as server:
            yield server
        return
    from containers import ContainerNats

    container = ContainerNats(tmp_path / "nats")
    try:
        container.start()
        yield container
    finally:
        container.remove()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    kind = PostgresServer
    if CONTAINERS:
        from containers import ContainerPostgres as kind  # type: ignore[assignment]
    with kind(tmp_path_factory.mktemp("postgres")) as server:
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
