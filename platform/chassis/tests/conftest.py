"""For all tests of the chassis: the contracts, the parts, and real servers to run them on."""

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

# Contracts of the tests' own (bookstore.v1), and what several of them use (parts).
sys.path.insert(0, str(Path(__file__).parent / "contracts"))
sys.path.insert(0, str(Path(__file__).parent / "parts"))

from books_rpc import Servers, servers
from bookshop import prepare_database

# CONTAINERS=1: PostgreSQL and NATS as users run them, from container images.
if os.environ.get("CONTAINERS", "") not in ("", "0"):
    from containers import ContainerNats as Nats
    from containers import ContainerPostgres as Postgres
else:
    Nats, Postgres = NatsServer, PostgresServer  # type: ignore[misc, assignment]

# Of a folder: with what means something in URLs and configurations.
ODD_NAME = "50% größer? c#1"

NewDatabase = Callable[[str], str]

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.twin)]


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server of the test's own."""
    with Nats(tmp_path / "nats") as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One for many tests: each makes databases of its own in it."""
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """One that the test may kill, pause and start again."""
    with Postgres(tmp_path / "postgres") as server:
        yield server


@pytest.fixture(params=DATABASES)
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> NewDatabase:
    """Gives the URL of a new database with the chassis' tables and the tests' own."""
    return _new_database(request, tmp_path, request.getfixturevalue(f"prepared_{request.param}"))


@pytest.fixture(params=DATABASES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> NewDatabase:
    """Gives the URL of a new database without any table."""
    return _new_database(request, tmp_path)


@pytest.fixture(scope="session")
def prepared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file that new databases are copies of: a copy costs far less than a migration."""
    file = tmp_path_factory.mktemp("sqlite") / "prepared.db"
    prepare_database(f"sqlite:///{file}")
    return str(file)


@pytest.fixture(scope="session")
def prepared_postgres(postgres: PostgresServer) -> str:
    """The database that new ones are copies of."""
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
    """Starts gRPC servers and their clients in this process; at the end they are stopped."""
    async with servers() as started:
        yield started
