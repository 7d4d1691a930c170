"""Conflicts and failures of the database cost events no try."""

import asyncio
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from bookshop import Node, eventually, write_down
from locks import waits_for_a_lock
from shop_and_books import (
    Patience,
    Statements,
    dead,
    failures,
    in_one_batch,
    rows_of_tasks,
    running_shop,
    settled,
    shop_and_books,
)
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, text, update
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.database import ConnectionLost, Database, DatabaseDown, engine, tables
from chassis.events.producer.event_factory import EventFactory
from chassis.events.tasks.claiming import Claimer
from localservers import NatsServer, PostgresServer

NewDatabase = Callable[[str], str]

pair = Table("pair", MetaData(), Column("name", String(8)), Column("n", Integer, default=0))


@pytest.fixture
def new_postgres(postgres: PostgresServer) -> NewDatabase:
    return lambda name: postgres.create_database(f"{name}_{uuid.uuid4().hex[:8]}")


def psycopg_url(url: str) -> str:
    return url.replace("+psycopg", "")


@pytest.fixture
def database(new_postgres: NewDatabase) -> Iterator[Database]:
    database = Database(new_postgres("conflicts"), EventFactory("books"))
    yield database
    database.close()


async def test_a_deadlock_in_a_batch_runs_it_again_at_once_in_quarters(
    nats: NatsServer, new_postgres: NewDatabase
) -> None:
    router = EventRouter()
    first, other_waits = threading.Event(), threading.Event()
    calls: list[str] = []

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        calls.append(event.id)
        write_down(tx, event)
        if book.customer_id != "0":
            return
        # The victim is the transaction that detects the deadlock first.
        tx.session.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
        tx.session.execute(text("UPDATE pair SET n = n + 1 WHERE name = 'a'"))
        first.set()
        other_waits.wait(20)
        tx.session.execute(text("UPDATE pair SET n = n + 1 WHERE name = 'b'"))

    def other(url: str) -> None:
        with psycopg.connect(psycopg_url(url)) as connection:
            connection.execute("SET deadlock_timeout = '30s'")
            connection.execute("UPDATE pair SET n = n + 1 WHERE name = 'b'")
            first.wait(20)
            connection.execute("UPDATE pair SET n = n + 1 WHERE name = 'a'")

    statements = Statements()
    before = failures()
    async with shop_and_books(nats, new_postgres, router, settings=Patience()) as (shop, books):
        await asyncio.to_thread(pair.create, books.database.engine)
        await books.database.transaction(
            lambda tx: tx.session.execute(insert(pair), [{"name": "a"}, {"name": "b"}])
        )
        statements.watch(books)
        rival = asyncio.create_task(asyncio.to_thread(other, books.url))
        async with in_one_batch(shop, books):
            await shop.publish(*(BookSold(book_id=f"b-{n}", customer_id=str(n)) for n in range(9)))
        await waits_for_a_lock(books.url, "UPDATE pair")
        other_waits.set()
        await rival
        await books.settled()
        assert len(await books.journal()) == 9
        assert await dead(books) == []
    assert len(statements.takes) == 5  # The quarters of 9 events have 2.
    assert len(calls) == 1 + 9
    assert failures() == before


async def test_a_serialization_failure_runs_the_transaction_again_at_once(
    database: Database,
) -> None:
    await database.transaction(lambda tx: tx.session.execute(text("CREATE TABLE t AS SELECT 1 n")))
    attempts = 0

    def work(tx: Transaction) -> int:
        nonlocal attempts
        attempts += 1
        tx.session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        seen = tx.session.execute(text("SELECT n FROM t")).scalar_one()
        if attempts == 1:
            with psycopg.connect(psycopg_url(database.url)) as other:
                other.execute("UPDATE t SET n = n + 10")
        tx.session.execute(text("UPDATE t SET n = :n"), {"n": seen + 1})
        return int(seen)

    assert await database.transaction(work) == 11
    assert attempts == 2


async def test_a_transaction_that_always_conflicts_fails_in_the_end(database: Database) -> None:
    attempts = 0

    def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        tx.session.execute(text("DO $$ BEGIN RAISE 'deadlock' USING ERRCODE = '40P01'; END $$"))

    with pytest.raises(Exception, match="deadlock"):
        await database.transaction(work)
    assert attempts == 5


async def test_a_connection_lost_once_costs_no_try_and_one_that_is_lost_each_time_does(
    nats: NatsServer, new_postgres: NewDatabase
) -> None:
    router = EventRouter()
    killed: list[str] = []

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)
        if book.price < 0 or (book.price == 1 and event.id not in killed):
            killed.append(event.id)
            tx.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    before = failures()
    async with shop_and_books(nats, new_postgres, router, settings=Patience(task_tries=3)) as (
        shop,
        books,
    ):
        (once,) = await shop.publish(BookSold(book_id="once", price=1))
        await settled(shop, books)
        assert [entry.event_id for entry in await books.journal()] == [once.id]
        assert failures() == before
        (always,) = await shop.publish(BookSold(book_id="always", price=-1))
        (next_,) = await shop.publish(BookSold(book_id="next"))

        async def buried() -> bool:
            return len(await dead(books)) == 1

        await eventually(buried, 30)
        await settled(shop, books)
        assert [entry.event_id for entry in await books.journal()] == [once.id, next_.id]
        (letter,) = await dead(books)
        assert (letter.event_id, letter.tries) == (always.id, 3)
        assert letter.reason.startswith("ConnectionLost: ")


async def make_due(books: Node) -> None:
    """Make all tasks due now."""
    await books.database.transaction(
        lambda tx: tx.session.execute(update(tables.tasks).values(due_at=0))
    )


def hold_looks(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Let no replica claim a task until the first event is set.

    The second event is set when a look found the database unavailable.
    """
    may_look, refused = asyncio.Event(), asyncio.Event()
    look = Claimer.look

    async def held(claimer: Claimer, *, suspects: bool) -> None:
        await may_look.wait()
        try:
            await look(claimer, suspects=suspects)
        except (DatabaseDown, ConnectionLost):
            refused.set()
            raise

    monkeypatch.setattr(Claimer, "look", held)
    return may_look, refused


async def test_an_unavailable_database_costs_no_try(
    nats: NatsServer,
    new_postgres: NewDatabase,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = EventRouter()
    fail_once: list[str] = []

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        if book.price < 0 and event.id not in fail_once:
            fail_once.append(event.id)
            raise ValueError("the first time only")
        write_down(tx, event)

    # This test kills its server, so that it needs one of its own.
    with PostgresServer(tmp_path_factory.mktemp("server")) as server:
        server.create_database("books")
        settings = Patience(task_backoff_seconds=600, task_tries=2)
        async with running_shop(nats, new_postgres) as shop:
            books = await Node(
                "books", server.url("books"), nats.url, router=router, settings=settings
            ).start()
            await shop.publish(BookSold(book_id="a", price=-1))

            async def waits() -> bool:
                return len(await rows_of_tasks(books)) == 1

            await eventually(waits)
            before = failures()
            may_look, refused = hold_looks(monkeypatch)
            await make_due(books)
            server.kill()
            await shop.publish(BookSold(book_id="b"), BookSold(book_id="a"))
            may_look.set()
            await asyncio.wait_for(refused.wait(), 20)
            server.start()
            await settled(shop, books)
            assert sorted(entry.book_id for entry in await books.journal()) == ["a", "a", "b"]
            assert failures() == before
            assert await dead(books) == []
            await books.stop()


@pytest.mark.parametrize("as_task", [False, True], ids=["in a batch", "as a task"])
async def test_a_database_that_fails_under_a_handler_costs_no_try(
    nats: NatsServer,
    new_postgres: NewDatabase,
    tmp_path_factory: pytest.TempPathFactory,
    as_task: bool,
) -> None:
    runs, goes_away, has_gone = threading.Event(), threading.Event(), threading.Event()
    noticed = threading.Event()
    mended = not as_task
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        if not mended:
            raise ValueError("so that it becomes a task")
        runs.set()
        if goes_away.is_set():
            has_gone.wait(20)
        try:
            write_down(tx, event)
        except DBAPIError:
            noticed.set()
            raise

    with PostgresServer(tmp_path_factory.mktemp("server")) as server:
        server.create_database("books")
        settings = Patience(task_tries=2, task_backoff_seconds=600)
        async with running_shop(nats, new_postgres) as shop:
            books = await Node(
                "books", server.url("books"), nats.url, router=router, settings=settings
            ).start()
            goes_away.set()
            await shop.publish(BookSold(book_id="a"))
            if as_task:

                async def waits() -> bool:
                    return len(await rows_of_tasks(books)) == 1

                await eventually(waits)
                mended = True
                await make_due(books)
            assert await asyncio.to_thread(runs.wait, 20)
            before = failures()
            server.kill()
            goes_away.clear()
            has_gone.set()
            assert await asyncio.to_thread(noticed.wait, 20)
            server.start()
            await settled(shop, books)
            assert len(await books.journal()) == 1
            assert failures() == before
            assert await dead(books) == []
            await books.stop()


def test_a_lock_of_another_process_makes_the_database_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For instance, an operator's sqlite3 shell has an open transaction."""
    monkeypatch.setattr(engine, "BUSY_MILLISECONDS", 20)
    database = Database(f"sqlite:///{tmp_path}/books.db", EventFactory("books"))
    with closing(sqlite3.connect(tmp_path / "books.db", isolation_level=None)) as other:
        database.transact(lambda tx: tx.session.execute(text("CREATE TABLE t (n INTEGER)")))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseDown, match="lock"):
            database.transact(lambda tx: None)
        other.execute("ROLLBACK")
        database.transact(lambda tx: None)
    database.close()


async def test_a_lock_of_another_process_costs_no_try(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_MILLISECONDS", 20)
    router = EventRouter()
    router.on(BookSold)(write_sold)
    urls = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("shop", "books")}
    before = failures()
    async with shop_and_books(nats, urls.__getitem__, router) as (shop, books):
        await shop.publish(BookSold(book_id="a"))
        # The node reads now, so that the next batch has to wait.
        await settled(shop, books)
        with (
            capture_logs() as log,
            closing(sqlite3.connect(tmp_path / "books.db", isolation_level=None)) as other,
        ):
            other.execute("BEGIN IMMEDIATE")
            await shop.publish(BookSold(book_id="a"))

            async def waits() -> bool:
                return any("reading paused" in line["event"] for line in log)

            await eventually(waits)
            other.execute("ROLLBACK")
        await settled(shop, books)
        assert len(await books.journal()) == 2
    assert failures() == before


def write_sold(book: BookSold, tx: Transaction, event: EventContext) -> None:
    write_down(tx, event)


async def test_a_lost_connection_differs_from_an_unavailable_database(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with PostgresServer(tmp_path_factory.mktemp("away")) as server:
        database = Database(server.create_database("books"), EventFactory("books"))
        with pytest.raises(ConnectionLost):
            await database.transaction(
                lambda tx: tx.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            )
        assert await database.read(lambda tx: tx.session.scalar(text("SELECT 1"))) == 1
        server.kill()
        # No statement was running when the connections died: the database is unavailable.
        with pytest.raises(DatabaseDown):
            await database.read(lambda tx: tx.session.scalar(text("SELECT 1")))
        with pytest.raises(DatabaseDown):
            await database.transaction(lambda tx: None)
        database.close()
