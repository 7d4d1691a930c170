"""Fixtures for all tests of the chassis: contracts, helpers, and real servers."""

import os
import shutil
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from chassis.database.engine import sqlite_url
from localservers import NatsServer, PostgresServer

# The tests' own contracts (bookstore.v1), and helpers that several test modules use (parts).
sys.path.insert(0, str(Path(__file__).parent / "contracts"))
sys.path.insert(0, str(Path(__file__).parent / "parts"))

from books_rpc import Servers, servers
from bookshop import note_prepared, prepare_database

# CONTAINERS=1 runs PostgreSQL and NATS from container images, as users do.
if os.environ.get("CONTAINERS", "") not in ("", "0"):
    from containers import ContainerNats as Nats
    from containers import ContainerPostgres as Postgres
else:
    Nats, Postgres = NatsServer, PostgresServer  # type: ignore[misc, assignment]

# The name of a folder that has characters with a meaning in URLs and configurations.
ODD_NAME = "50% größer? c#1"

NewDatabase = Callable[[str], str]

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.twin)]


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server for this test."""
    with Nats(tmp_path / "nats") as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL server that tests share; each test creates its own databases in it."""
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server that this test may kill, pause and restart."""
    with Postgres(tmp_path / "postgres") as server:
        yield server


@pytest.fixture(params=DATABASES)
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> NewDatabase:
    """A function that returns the URL of a new database with the chassis' and the tests' tables."""
    copy = _new_database(request, tmp_path, request.getfixturevalue(f"prepared_{request.param}"))
    return lambda name: note_prepared(copy(name))


@pytest.fixture(params=DATABASES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> NewDatabase:
    """A function that returns the URL of a new database without tables."""
    return _new_database(request, tmp_path)


@pytest.fixture(scope="session")
def prepared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file that new databases are copied from, because a copy is quicker than a migration."""
    file = tmp_path_factory.mktemp("sqlite") / "prepared.db"
    prepare_database(f"sqlite:///{file}")
    return str(file)


@pytest.fixture(scope="session")
def prepared_postgres(postgres: PostgresServer) -> str:
    """The database that new databases are copied from."""
    prepare_database(postgres.create_database("prepared"))
    return "prepared"


def _new_database(
    request: pytest.FixtureRequest, tmp_path: Path, template: str | None = None
) -> NewDatabase:
    def sqlite(name: str) -> str:
        file = tmp_path / ODD_NAME / f"{name}.db"
        file.parent.mkdir(exist_ok=True)
        if template is not None:
            shutil.copy(template, file)
        return sqlite_url(file)

    def postgres(name: str) -> str:
        server: PostgresServer = request.getfixturevalue("postgres")
        unique = f"{name}_{uuid.uuid4().hex[:8]}"
        return server.create_database(unique, template=template or "template1")

    return sqlite if request.param == "sqlite" else postgres


@pytest_asyncio.fixture
async def rpc() -> AsyncIterator[Servers]:
    """gRPC servers and clients in this process, which are stopped at the end."""
    async with servers() as started:
        yield started
