"""A database that is available again is used at once: no transaction fails on an old connection."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from chassis.database import Database, DatabaseDown
from chassis.events.producer.event_factory import EventFactory
from localservers import PostgresServer


async def test_the_first_transaction_after_the_database_is_back_succeeds(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        database = Database(server.create_database("shop"), EventFactory("bookstore"), threads=2)
        try:
            await asyncio.gather(*(_ask(database) for _ in range(4)))
            server.stop()
            with pytest.raises(DatabaseDown):
                await database.check()
            server.start()
            await database.check()

            assert await asyncio.gather(*(_ask(database) for _ in range(4))) == [1] * 4
        finally:
            database.close()


async def _ask(database: Database) -> object:
    return await database.transaction(lambda tx: tx.session.scalar(text("SELECT 1")))
