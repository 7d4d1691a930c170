"""Fixtures for all tests of the chassis: contracts, helpers, and real servers."""

import logging
import os
import shutil
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from chassis.sqlite_url import sqlite_url
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
def own_logging() -> Iterator[None]:
    """Restore the configuration of logging after a test that changes it."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    # The default of structlog would draw the locals of each traceback in all later tests.
    structlog.configure(**before)


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server for this test."""
    with Nats(tmp_path / "nats") as server:
        yield server


@pytest.fixture(scope="session")
def postgres(memory: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server that tests share; each test creates its own databases in it."""
    with Postgres(memory / "chassis") as server:
        yield server


@pytest.fixture
def own_postgres(memory: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server that this test may kill, pause and restart."""
    with Postgres(memory / "own") as server:
        yield server


@pytest.fixture(params=DATABASES)
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """A function that returns the URL of a new database with the chassis' and the tests' tables."""
    prepared = request.getfixturevalue(f"prepared_{request.param}")
    with _new_databases(request, tmp_path, prepared) as copy:
        yield lambda name: note_prepared(copy(name))


@pytest.fixture(params=DATABASES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """A function that returns the URL of a new database without tables."""
    with _new_databases(request, tmp_path) as new:
        yield new


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


@contextmanager
def _new_databases(
    request: pytest.FixtureRequest, tmp_path: Path, template: str | None = None
) -> Iterator[NewDatabase]:
    if request.param == "postgres":
        with _in_postgres(request.getfixturevalue("postgres"), template or "template1") as new:
            yield new
        return

    def sqlite(name: str) -> str:
        file = tmp_path / ODD_NAME / f"{name}.db"
        file.parent.mkdir(exist_ok=True)
        if template is not None:
            shutil.copy(template, file)
        return sqlite_url(file)

    yield sqlite


@contextmanager
def _in_postgres(server: PostgresServer, template: str) -> Iterator[NewDatabase]:
    """Yield a function that makes databases, which are deleted at the end to free memory."""
    made: list[str] = []

    def new(name: str) -> str:
        made.append(f"{name}_{uuid.uuid4().hex[:8]}")
        return server.create_database(made[-1], template=template)

    yield new
    for name in made:
        server.drop_database(name)


@pytest_asyncio.fixture
async def rpc() -> AsyncIterator[Servers]:
    """gRPC servers and clients in this process, which are stopped at the end."""
    async with servers() as started:
        yield started
