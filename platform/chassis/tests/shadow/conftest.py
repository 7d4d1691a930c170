"""Fixtures of the shadow's tests: a shop whose events are in a stream, and databases."""

import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from relaying import Shop

from localservers import NatsServer, PostgresServer


@pytest.fixture(params=["sqlite", "postgres"])
def books_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The database of the service whose shadow runs; of each kind in every run of the tests."""
    template: str = request.getfixturevalue(f"prepared_{request.param}")
    if request.param == "sqlite":
        return f"sqlite:///{shutil.copy(template, tmp_path / 'books.db')}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database(f"books_{uuid.uuid4().hex[:8]}", template=template)


@pytest.fixture
def sqlite_url(prepared_sqlite: str, tmp_path: Path) -> str:
    """The database of the service whose shadow runs, where the kind makes no difference."""
    return f"sqlite:///{shutil.copy(prepared_sqlite, tmp_path / 'books.db')}"


@pytest_asyncio.fixture
async def shop(nats: NatsServer, prepared_sqlite: str, tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop with a running relay."""
    async with Shop(f"sqlite:///{shutil.copy(prepared_sqlite, tmp_path / 'shop.db')}") as shop:
        shop.start_relay(nats.url)
        yield shop
