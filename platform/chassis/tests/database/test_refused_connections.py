"""A database that refuses new connections while older ones still work."""

import pytest
from sqlalchemy import create_engine, make_url, text

from chassis.database import Database, DatabaseDown, Transaction
from chassis.events.producer.event_factory import EventFactory
from localservers import PostgresServer


def allow_connections(postgres: PostgresServer, name: str, *, allowed: bool) -> None:
    engine = create_engine(postgres.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allowed}'))
    engine.dispose()


async def test_a_refused_connection_is_the_databases_failure(
    postgres: PostgresServer,
) -> None:
    url = postgres.create_database("refusing")
    name = make_url(url).database
    assert name
    database = Database(url, EventFactory("bookstore"))

    def work(tx: Transaction) -> int:
        return int(tx.session.execute(text("SELECT 1")).scalar_one())

    try:
        assert await database.read(lambda tx: tx.session.execute(text("SELECT 1")).scalar()) == 1
        allow_connections(postgres, name, allowed=False)
        with pytest.raises(DatabaseDown, match="not currently accepting connections"):
            await database.transaction(work)
        allow_connections(postgres, name, allowed=True)
        assert await database.transaction(work) == 1
    finally:
        database.close()
