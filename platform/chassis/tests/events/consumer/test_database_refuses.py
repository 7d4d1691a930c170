"""A database that refuses work costs events no try and makes none of them suspect."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import pytest
from bookshop import Node, eventually, journal, write_down
from prometheus_client import REGISTRY
from shop_and_books import dead, rows_of_tasks, settled, shop_and_books
from sqlalchemy import NullPool, create_engine, insert, text
from sqlalchemy import event as sqlalchemy_event

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from chassis.database import DatabaseDown
from chassis.readiness import Readiness
from localservers import NatsServer, PostgresServer

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]


def failures() -> float:
    """Return the number of failed events in this process, over all types."""
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "events_failed_total"
    )


class SmallDisk:
    """A limit for the database file: the pages that it has when `fill` is called."""

    def __init__(self, books: Node) -> None:
        self._books = books
        self._pages = 0
        sqlalchemy_event.listen(books.database.engine, "checkout", self._limit)

    async def fill(self) -> None:
        def count(tx: Transaction) -> int:
            return int(tx.session.execute(text("PRAGMA page_count")).scalar_one())

        self._pages = await self._books.database.transaction(count)

    def make_room(self) -> None:
        self._pages = 1_000_000

    def _limit(self, connection: object, *_: object) -> None:
        if self._pages:
            connection.execute(f"PRAGMA max_page_count = {self._pages}")  # type: ignore[attr-defined]


def write_much(tx: Transaction, event: EventContext) -> None:
    tx.session.execute(insert(journal).values(event_id=event.id, type="x" * 100_000))


@pytest.mark.parametrize("reaction", ["none", "another error", "silence"])
async def test_a_full_disk_costs_no_try_whatever_the_handler_makes_of_it(
    nats: NatsServer, tmp_path: Path, reaction: str
) -> None:
    calls: Counter[str] = Counter()
    router = EventRouter()

    def react(error: Exception) -> None:
        if reaction == "none":
            raise error
        if reaction == "another error":
            raise ValueError("it did not work")

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        calls["sold"] += 1
        try:
            write_much(tx, event)
        except Exception as error:
            react(error)

    @router.on(BookReturned)
    async def handle_later(book: BookReturned, event: EventContext, transact: Transact) -> None:
        calls["returned"] += 1
        try:
            await transact(write_much, event)
        except Exception as error:
            react(error)

    before = failures()
    urls = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("shop", "books")}
    async with shop_and_books(nats, urls.__getitem__, router) as (shop, books):
        disk = SmallDisk(books)
        await disk.fill()

        async def tried_again(kind: str) -> bool:
            return calls[kind] > 1

        await shop.publish(BookReturned(book_id="b"))
        await eventually(partial(tried_again, "returned"))
        await shop.publish(BookSold(book_id="a"))
        await eventually(partial(tried_again, "sold"))
        readiness = Readiness()
        readiness.depend_on(books.database, None)
        await readiness.begin()
        assert readiness.status == "unavailable"
        assert readiness.dependencies["database"] == "database or disk is full"
        disk.make_room()
        await settled(shop, books)
        assert len(await books.journal()) == 2
        assert await dead(books) == []
    assert failures() == before


async def test_a_primary_that_became_read_only_costs_no_try(
    nats: NatsServer, postgres: PostgresServer, prepared_postgres: str, tmp_path: Path
) -> None:
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    @router.on(BookReturned)
    async def handle_later(book: BookReturned, event: EventContext, transact: Transact) -> None:
        held.set()
        await may_commit.wait()
        await transact(write_down, event)

    held, may_commit = asyncio.Event(), asyncio.Event()
    name = f"failover_{uuid.uuid4().hex[:8]}"
    urls = {
        "shop": f"sqlite:///{tmp_path}/shop.db",
        "books": postgres.create_database(name, template=prepared_postgres),
    }

    def fail_over(setting: str) -> None:
        engine = create_engine(urls["books"], isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text("SET default_transaction_read_only = off"))
            connection.execute(text(f"ALTER DATABASE {name} {setting}"))
            others = "FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
            ends = f"SELECT pg_terminate_backend(pid, 10000) {others}"
            connection.execute(text(ends), {"name": name})

    before = failures()
    async with shop_and_books(nats, urls.__getitem__, router) as (shop, books):
        await shop.publish(BookReturned(book_id="b"))
        await asyncio.wait_for(held.wait(), 20)
        await asyncio.to_thread(fail_over, "SET default_transaction_read_only = on")
        await shop.publish(BookSold(book_id="a"))
        may_commit.set()
        readiness = Readiness()
        readiness.depend_on(books.database, None)
        await readiness.begin()
        assert readiness.status == "unavailable"
        assert readiness.dependencies["database"] == "the server is read-only"
        with pytest.raises(DatabaseDown):
            await books.database.transaction(lambda tx: tx.session.execute(insert(journal)))
        await asyncio.to_thread(fail_over, "RESET default_transaction_read_only")
        await settled(shop, books)
        assert len(await books.journal()) == 2
        assert await dead(books) == []
    assert failures() == before


@pytest.mark.parametrize("kind", ["def", "async def", "async def that goes on"])
async def test_an_event_whose_table_is_missing_waits_for_it_and_delays_no_other(
    nats: NatsServer, new_database: NewDatabase, kind: str
) -> None:
    router = EventRouter()

    def shelve(tx: Transaction, book: str) -> None:
        tx.session.execute(text("INSERT INTO shelf VALUES (:book)"), {"book": book})

    if kind == "def":

        @router.on(BookReturned)
        def handle(book: BookReturned, tx: Transaction) -> None:
            shelve(tx, book.book_id)

    else:

        @router.on(BookReturned)
        async def handle_later(book: BookReturned, transact: Transact) -> None:
            with suppress(Exception) if kind.endswith("goes on") else nullcontext():
                await transact(shelve, book.book_id)

    @router.on(BookSold)
    def note(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    async with shop_and_books(nats, new_database, router) as (shop, books):
        returned = [BookReturned(book_id=f"r-{n}") for n in range(3)]
        await shop.publish(*returned, *(BookSold(book_id=f"s-{n}") for n in range(3)))

        async def all_else_is_done() -> bool:
            rows = await rows_of_tasks(books)
            refused = [row for row in rows if "DatabaseAtFault" in row.reason]
            return len(refused) == 3 and len(await books.journal()) == 3

        await eventually(all_else_is_done)
        assert {row.tries for row in await rows_of_tasks(books)} == {0}
        readiness = Readiness()
        readiness.depend_on(books.database, None)
        await readiness.begin()
        assert readiness.status == "degraded"
        assert "shelf" in readiness.dependencies["database_refuses"]
        await books.database.transaction(
            lambda tx: tx.session.execute(text("CREATE TABLE shelf (book VARCHAR(64))"))
        )
        await settled(shop, books)
        assert await dead(books) == []
        found = await books.database.read(
            lambda tx: list(tx.session.execute(text("SELECT book FROM shelf")).scalars())
        )
        assert sorted(found) == ["r-0", "r-1", "r-2"]
