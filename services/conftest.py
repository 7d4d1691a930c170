"""Fixtures for the tests of all services: handlers on a migrated database of each kind."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from chassis import ReadTransaction, Service, ServiceSettings
from chassis.database import migrate
from chassis.rpc import Clients
from chassis.rpc.methods import bind
from chassis.rpc.server import RpcServer
from chassis.testing import HandlerHarness
from localservers import PostgresServer


@pytest.fixture(scope="session")
def postgres(memory: Path) -> Iterator[PostgresServer]:
    with PostgresServer(memory / "services") as server:
        yield server


@pytest.fixture(
    scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.twin)]
)
def copy_of_migrated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Service], str]:
    """A function that returns the URL of a new database with a service's tables.

    The migrations run once per service and kind of database; each database is a copy of the result.
    """
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("sqlite")

        def copy_file(service: Service) -> str:
            template = folder / f"{service.name}.db"
            if not template.exists():
                migrate(f"sqlite:///{template}", service.migrations)
            copy = folder / f"{uuid4().hex}.db"
            shutil.copy(template, copy)
            return f"sqlite:///{copy}"

        return copy_file

    server: PostgresServer = request.getfixturevalue("postgres")
    templates: set[str] = set()

    def copy_database(service: Service) -> str:
        if service.name not in templates:
            migrate(server.create_database(service.name), service.migrations)
            templates.add(service.name)
        return server.create_database(f"test_{uuid4().hex}", template=service.name)

    return copy_database


@pytest.fixture
def make_harness(
    request: pytest.FixtureRequest, copy_of_migrated: Callable[[Service], str]
) -> Iterator[Callable[[Service, ServiceSettings], HandlerHarness]]:
    """A function that makes a harness on a new database, once on SQLite and once on PostgreSQL."""
    with ExitStack() as stack:

        def make(service: Service, settings: ServiceSettings) -> HandlerHarness:
            url = copy_of_migrated(service)
            if url.startswith("postgresql"):  # Databases in memory are deleted to free it.
                server: PostgresServer = request.getfixturevalue("postgres")
                stack.callback(server.drop_database, url.rpartition("/")[2])
            harness = HandlerHarness.of(service, database_url=url, settings=settings)
            stack.callback(harness.close)
            return harness

        yield make


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Callable[[Service, HandlerHarness], Awaitable[Clients]]]:
    """A function that serves a service's contracts on a harness' database and returns clients."""
    async with AsyncExitStack() as stack:

        async def start(service: Service, harness: HandlerHarness) -> Clients:
            settings = service.settings_type(grpc_port=0)
            contracts = [
                (contract.full_name, bind(contract, answering, settings))
                for contract, answering in service.grpc
            ]
            server = RpcServer(contracts, settings, harness.database)
            await server.start()
            stack.push_async_callback(server.stop, 0)
            target = {service.name: f"ipv4:127.0.0.1:{server.port}"}
            calls = [contract for contract, _ in service.grpc]
            clients = Clients("test", calls, ServiceSettings(targets=target))
            stack.push_async_callback(clients.close)
            return clients

        yield start


@pytest.fixture
def drift() -> Callable[[HandlerHarness, Service], list[object]]:
    """A function that returns the differences between a database and the service's tables.py."""

    def compare(harness: HandlerHarness, service: Service) -> list[object]:
        declared = service.tables
        assert declared is not None
        names = set(declared.tables)

        def is_declared(table: object, name: str | None, kind: str, *_: object) -> bool:
            return kind != "table" or name in names

        def differences(tx: ReadTransaction) -> list[object]:
            context = MigrationContext.configure(
                tx.session.connection(), opts={"include_object": is_declared, "compare_type": True}
            )
            found: list[object] = compare_metadata(context, declared)
            return found

        return harness.transact(differences)

    return compare
