"""Text comes back unchanged from PostgreSQL databases of every encoding."""

import asyncio

import psycopg
import pytest
from sqlalchemy import text

from bookstore.v1 import BookSold
from chassis.database import Database, migrate
from chassis.events.producer.event_factory import EventFactory
from localservers import PostgresServer, free_port


@pytest.mark.parametrize("encoding", ["UTF8", "SQL_ASCII", "LATIN1"])
async def test_text_is_text_in_every_encoding(postgres: PostgresServer, encoding: str) -> None:
    name = f"{encoding.lower()}_{free_port()}"
    with psycopg.connect(
        host="127.0.0.1", port=postgres.port, user="postgres", autocommit=True
    ) as admin:
        made = f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        admin.execute(made.encode())
    url = postgres.url(name)
    await asyncio.to_thread(migrate, url)
    database = Database(url, EventFactory("bookstore", (BookSold,)))
    said = await database.transaction(
        lambda tx: tx.session.scalar(text("SELECT CAST(:said AS text)"), {"said": "größer"})
    )
    await asyncio.to_thread(database.close)
    assert said == "größer"
