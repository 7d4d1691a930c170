"""The outbox holds published events unchanged and in order, however many a transaction has."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DataError

from bookstore.v1 import BookSold
from chassis.database import Database, Transaction, migrate, outbox_rows, tables
from chassis.database.outbox_rows import OutboxRow
from chassis.events.producer.event_factory import EventFactory
from chassis.sqlite_url import sqlite_url
from localservers import PostgresServer


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = sqlite_url(tmp_path / "bookstore.db")
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.create_database(f"outbox_rows_{id(request)}")
    migrate(url)
    database = Database(url, EventFactory("bookstore", (BookSold,)))
    yield database
    database.close()


async def test_rows_of_any_number_are_stored_in_order(database: Database) -> None:
    published: list[tuple[str, BookSold]] = []

    def publish(count: int, tx: Transaction) -> list[tuple[str, BookSold]]:
        sold = [BookSold(book_id=f"größer {n}", customer_id="me\n\t\\N") for n in range(count)]
        return [(tx.publish(message).id, message) for message in sold]

    for count in (1, 2, 7, 8, 9, 600):
        published += await database.transaction(partial(publish, count))
    columns = tables.outbox.c
    stored = await database.read(
        lambda tx: tx.session.execute(
            select(columns.event_id, columns.data, columns.headers).order_by(columns.id)
        ).all()
    )
    assert [(id, BookSold.FromString(data)) for id, data, _ in stored] == published
    assert all(id.encode() in headers for id, _, headers in stored)


@pytest.mark.parametrize("count", [1, 20])
async def test_a_refused_row_is_an_error_of_the_database(
    postgres: PostgresServer, count: int
) -> None:
    url = postgres.create_database(f"refused_rows_{count}")
    migrate(url)
    database = Database(url, EventFactory("bookstore", (BookSold,)))
    row = OutboxRow("id", "long" * 100, b"{}", b"", 0.0)
    with pytest.raises(DataError, match="too long"):
        await database.transaction(
            lambda tx: outbox_rows.insert(tx.session.connection(), [row] * count)
        )
    stored = await database.read(lambda tx: tx.session.execute(select(tables.outbox)).all())
    assert stored == []
    await database.transaction(lambda tx: tx.publish(BookSold(book_id="b", customer_id="c")))
    database.close()
