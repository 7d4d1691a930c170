"""Databases through PgBouncer in each of its modes, and with other defaults of the server."""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from bookshop import Node, accountant, prepare_database, sold
from forked_python import start_code
from pooler import pooler, through
from sqlalchemy import text

from bookstore.v1 import BookReturned, BookSold
from chassis import ReadTransaction, Transaction
from chassis.database import Database, DatabaseDown
from chassis.database.leadership import Lock
from chassis.events.producer.event_factory import EventFactory
from localservers import NatsServer, PostgresServer


def unique(name: str) -> str:
    return f"{name}_{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[tuple[str, str]]:
    """The URLs of a database through a pooler and directly."""
    direct = postgres.create_database(unique(f"pooled_{request.param}"))
    with pooler(postgres, request.param) as port:
        yield through(direct, port), direct


async def test_a_service_takes_and_publishes_events_through_a_pooler(
    pooled: tuple[str, str], nats: NatsServer, postgres: PostgresServer
) -> None:
    url, _ = pooled
    publishes = [BookSold, BookReturned]
    async with (
        Node("bookstore", url, nats.url, publishes=publishes) as shop,
        Node("books", other(postgres, url), nats.url, router=accountant()) as books,
    ):
        published = []
        # The driver prepares a statement after some repetitions.
        for n in range(0, 120, 10):
            published += await shop.publish(*(sold(n + i) for i in range(10)))
        await shop.settled()
        await books.settled()
        taken = [line.event_id for line in await books.journal()]
        assert sorted(taken) == sorted(event.id for event in published)
        assert shop.fatal == books.fatal == []


def other(postgres: PostgresServer, url: str) -> str:
    """Return the URL of another database behind the same pooler."""
    name = f"{url.rpartition('/')[2]}_books"
    postgres.create_database(name)
    return f"{url.rpartition('/')[0]}/{name}"


# A script that acquires a lock as soon as it is free, and holds it.
_HOLDS = """
import sys, time
from chassis.database.leadership import Lock
lock = Lock(sys.argv[1], "relay")
while not lock.acquire():
    time.sleep(0.02)
print("held", flush=True)
time.sleep(600)
"""


async def test_a_lock_through_a_pooler_ends_with_its_process(
    pooled: tuple[str, str], tmp_path: Path
) -> None:
    for number, url in enumerate(pooled):
        first, second = Lock(url, "relay"), Lock(url, "relay")
        try:
            assert [first.acquire(), second.acquire(), first.acquire()] == [True, False, True]
            first.release()
            output = tmp_path / f"{number}.txt"
            process = start_code(_HOLDS, url, stdout=output)
            try:
                while output.read_text(encoding="utf-8") != "held\n":
                    assert process.is_alive()
                    await asyncio.sleep(0.01)
                assert not second.acquire()
            finally:
                process.kill()
                process.join()
            while not second.acquire():
                await asyncio.sleep(0.02)
        finally:
            for lock in (first, second):
                lock.release()


async def test_a_held_lock_does_not_hold_back_vacuum(postgres: PostgresServer) -> None:
    name = unique("vacuumed")
    url = postgres.create_database(name)
    lock = Lock(url, "relay")
    assert lock.acquire()
    # The relay acquires its lock again and again.
    assert all(lock.acquire() for _ in range(10))
    try:
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            held = connection.execute(
                "SELECT backend_xmin, backend_xid FROM pg_stat_activity"
                " WHERE state = 'idle in transaction' AND datname = %s",
                [name],
            ).fetchall()
        assert held == [(None, None)]
    finally:
        lock.release()


async def test_statement_pooling_is_refused_with_what_to_do(postgres: PostgresServer) -> None:
    direct = postgres.create_database(unique("pooled_statement"))
    with pooler(postgres, "statement") as port:
        database = Database(through(direct, port), EventFactory("bookstore"))
        try:
            for attempt in (database.check, lambda: database.transaction(isolation)):
                with pytest.raises(DatabaseDown, match="pool_mode to transaction or session"):
                    await attempt()
        finally:
            database.close()


def isolation(tx: ReadTransaction) -> tuple[str | None, str | None]:
    """Return the isolation level, and the time that the transaction may be idle."""
    idle = "SHOW idle_in_transaction_session_timeout"
    return (
        tx.session.scalar(text("SHOW transaction_isolation")),
        tx.session.scalar(text(idle)),
    )


async def test_transactions_are_as_the_chassis_needs_them_whatever_the_defaults(
    pooled: tuple[str, str],
) -> None:
    _, direct = pooled
    with psycopg.connect(direct.replace("+psycopg", ""), autocommit=True) as connection:
        name = connection.info.dbname
        for setting in (
            "default_transaction_isolation = 'serializable'",
            "idle_in_transaction_session_timeout = 0",
        ):
            connection.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    for url in pooled:
        database = Database(url, EventFactory("bookstore"))
        try:
            # More than one connection, and more than one transaction on each.
            writes = [database.transaction(isolation) for _ in range(20)]
            reads = [database.read(isolation) for _ in range(20)]
            assert set(await asyncio.gather(*writes)) == {("read committed", "1min")}
            assert set(await asyncio.gather(*reads)) == {("repeatable read", "1min")}
        finally:
            database.close()


async def test_a_read_sees_one_state_of_the_database(postgres: PostgresServer) -> None:
    url = postgres.create_database(unique("snapshot"))
    prepare_database(url)
    database = Database(url, EventFactory("bookstore"))

    def write(tx: Transaction) -> None:
        tx.session.execute(text("INSERT INTO journal (id) VALUES (1)"))

    def look_twice(tx: ReadTransaction) -> tuple[int | None, int | None]:
        count = text("SELECT count(*) FROM journal")
        before = tx.session.scalar(count)
        database.transact(write)
        return before, tx.session.scalar(count)

    try:
        assert await database.read(look_twice) == (0, 0)
    finally:
        database.close()
