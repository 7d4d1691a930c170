"""Servers for a test, and each database in turn."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from books_rpc import Servers, servers

from chassis.database import Database, migrate
from chassis.testing import PostgresServer


@pytest_asyncio.fixture
async def rpc() -> AsyncIterator[Servers]:
    async with servers() as started:
        yield started


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, rpc: Servers, tmp_path: Path) -> Database:
    """A new, migrated database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/books.db"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        name = f"books_{uuid.uuid4().hex[:8]}"
        server.create_database(name)
        url = server.url(name)
    migrate(url)
    return rpc.database(url)
