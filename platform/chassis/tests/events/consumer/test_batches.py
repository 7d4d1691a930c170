"""Events that have arrived take effect in one commit, and a failing one does not harm others."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from bookshop import Node, eventually, journal, write_down
from fake_producer import FakeProducer
from shop_and_books import (
    Patience,
    Statements,
    dead,
    in_one_batch,
    rows_of_tasks,
    running_books,
    shop_and_books,
)
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Reject, Transaction
from localservers import NatsServer

NewDatabase = Callable[[str], str]
EVENTS = 40
BAD = 17

prices = Table(
    "price",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("total", Integer, CheckConstraint("total >= 0"), nullable=False),
)
promises = Table(
    "promise",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("of", ForeignKey("promise.id", deferrable=True, initially="DEFERRED")),
)


def books_sold(bad: int | None = None) -> list[BookSold]:
    """EVENTS books of ten keys; the bad one has a negative price."""
    return [
        BookSold(book_id=f"book-{n % 10}", customer_id=str(n), price=-1 if n == bad else n)
        for n in range(EVENTS)
    ]


def one_by_one(failing: type[Exception] = ValueError) -> EventRouter:
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)
        if book.price < 0:
            raise failing("a negative price")

    return router


def all_at_once(calls: list[int] | None = None) -> EventRouter:
    router = EventRouter()

    @router.on_batch(BookSold)
    def handle(books: Sequence[BookSold], events: Sequence[EventContext], tx: Transaction) -> None:
        if calls is not None:
            calls.append(len(books))
        rows = [
            {"event_id": event.id, "book_id": book.book_id}
            for book, event in zip(books, events, strict=True)
        ]
        tx.session.execute(insert(journal), rows)
        if any(book.price < 0 for book in books):
            raise ValueError("a negative price")

    return router


def changing(*, rejects: bool) -> EventRouter:
    """Return a handler whose change fails for the bad event, which it may reject for that."""
    router = EventRouter()
    change = update(prices).where(prices.c.id == 1).values(total=prices.c.total + bindparam("more"))

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction) -> None:
        try:
            tx.session.execute(change, {"more": book.price if book.price >= 0 else -100_000})
        except IntegrityError as error:
            if rejects:
                raise Reject("a negative total") from error
            raise

    return router


async def in_journal(books: Node) -> list[tuple[str, str]]:
    return [(entry.book_id, entry.event_id) for entry in await books.journal()]


def of_key(entries: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for key, id in entries:
        keys.setdefault(key, []).append(id)
    return keys


def expected(contexts: Sequence[EventContext], without: Sequence[int]) -> dict[str, list[str]]:
    return of_key(
        [(str(c.partition_key), c.id) for n, c in enumerate(contexts) if n not in without]
    )


@pytest.mark.dialect
async def test_an_event_whose_handler_raises_costs_its_neighbors_three_commits(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    statements = Statements()
    router = one_by_one()
    # The backoff is longer than the test.
    settings = Patience(task_backoff_seconds=600)
    async with shop_and_books(nats, new_database, router, settings=settings) as (shop, books):
        statements.watch(books)
        async with in_one_batch(shop, books):
            contexts = await shop.publish(*books_sold(bad=BAD))

        behind = [n for n in range(EVENTS) if n % 10 == BAD % 10 and n >= BAD]

        async def taken() -> bool:
            return of_key(await in_journal(books)) == expected(contexts, behind)

        await eventually(taken)
        assert len(statements.takes) == 3
        waiting = await rows_of_tasks(books)
        assert [task.event_id for task in waiting] == [contexts[n].id for n in behind]
        assert [task.reason for task in waiting] == ["ValueError: a negative price", "", ""]
        assert [task.tries for task in waiting] == [1, 0, 0]


async def test_a_rejected_event_is_a_dead_letter_at_once_and_its_key_continues(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    router = one_by_one(Reject)
    async with shop_and_books(nats, new_database, router, settings=Patience()) as (shop, books):
        async with in_one_batch(shop, books):
            contexts = await shop.publish(*books_sold(bad=BAD))
        await books.settled()
        assert of_key(await in_journal(books)) == expected(contexts, [BAD])
        (letter,) = await dead(books)
        assert (letter.event_id, letter.reason, letter.tries, letter.version) == (
            contexts[BAD].id,
            "rejected: a negative price",
            1,
            "1",
        )


@pytest.mark.dialect
async def test_a_commit_that_fails_is_blamed_on_the_event_that_breaks_it_alone(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    """A deferred constraint fails at the commit, without naming the event."""
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)
        if book.price < 0:
            tx.session.execute(insert(promises).values(id=1, of=2))

    settings = Patience(task_tries=1)
    async with shop_and_books(nats, new_database, router, settings=settings) as (shop, books):
        await asyncio.to_thread(promises.create, books.database.engine)
        async with in_one_batch(shop, books):
            contexts = await shop.publish(*books_sold(bad=BAD))
        await books.settled()
        assert of_key(await in_journal(books)) == expected(contexts, [BAD])
        (letter,) = await dead(books)
        assert letter.event_id == contexts[BAD].id
        assert letter.reason.startswith("IntegrityError: ")


@pytest.mark.dialect
@pytest.mark.parametrize("rejects", [False, True])
async def test_a_change_that_fails_is_blamed_on_its_event_although_it_was_deferred(
    nats: NatsServer, new_database: NewDatabase, rejects: bool
) -> None:
    statements = Statements()
    settings = Patience(task_tries=1)
    router = changing(rejects=rejects)
    async with shop_and_books(nats, new_database, router, settings=settings) as (shop, books):
        await asyncio.to_thread(prices.create, books.database.engine)
        await books.database.transaction(
            lambda tx: tx.session.execute(insert(prices).values(id=1, total=0))
        )
        statements.watch(books)
        async with in_one_batch(shop, books):
            contexts = await shop.publish(*books_sold(bad=BAD))
        await books.settled()
        total = await books.database.read(lambda tx: tx.session.scalar(select(prices.c.total)))
        assert total == sum(range(EVENTS)) - BAD
        (letter,) = await dead(books)
        assert letter.event_id == contexts[BAD].id
        reason = "rejected: a negative total" if rejects else "IntegrityError: "
        assert letter.reason.startswith(reason)
        # Those before it, itself, and those after it.
        assert len(statements.takes) == 3


async def test_an_on_batch_handler_that_fails_gets_its_events_again_in_lists_of_one(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    calls: list[int] = []
    router = all_at_once(calls)
    settings = Patience(task_tries=1)
    async with shop_and_books(nats, new_database, router, settings=settings) as (shop, books):
        async with in_one_batch(shop, books):
            contexts = await shop.publish(*books_sold(bad=BAD))
        await books.settled()
        assert of_key(await in_journal(books)) == expected(contexts, [BAD])
        assert [letter.event_id for letter in await dead(books)] == [contexts[BAD].id]
        assert calls == [EVENTS] + [1] * EVENTS


BROKEN: dict[str, dict[str, Any]] = {
    "data that is no message": {"data": b"\xff\xff\xff"},
    "no event at all": {"headers": {"ce-specversion": None}},
    "another type than its subject's": {"headers": {"ce-type": "bookstore.v1.BookReturned"}},
}
# SQLite would store them, and PostgreSQL would not.
BROKEN_FOR_POSTGRES: dict[str, dict[str, Any]] = {
    "a key that cannot be stored": {"headers": {"ce-partitionkey": "a%00b"}},
    "a key without end": {"headers": {"ce-partitionkey": "k" * 300}},
    "an id without end": {"headers": {"ce-id": "i" * 300}},
    "a source without end": {"headers": {"ce-source": "s" * 300}},
}


@pytest.mark.parametrize(
    "broken",
    [
        *BROKEN.values(),
        *(pytest.param(one, marks=pytest.mark.dialect) for one in BROKEN_FOR_POSTGRES.values()),
    ],
    ids=[*BROKEN, *BROKEN_FOR_POSTGRES],
)
async def test_an_undecodable_event_is_a_dead_letter_with_its_headers_and_bytes(
    nats: NatsServer, new_database: NewDatabase, broken: dict[str, Any]
) -> None:
    async with FakeProducer(nats.url) as producer:
        contexts = []
        for n, book in enumerate(books_sold()):
            contexts.append(await producer.publish(book, **(broken if n == BAD else {})))
        async with running_books(nats, new_database("books"), one_by_one()) as books:
            await books.settled()
            assert of_key(await in_journal(books)) == expected(contexts, [BAD])
            (letter,) = await dead(books)
            assert letter.reason.startswith("undecodable: ")
            assert letter.version == "1"
            headers = json.loads(letter.headers)
            for name, value in broken.get("headers", {}).items():
                assert headers.get(name) == value
            assert letter.data == broken.get("data", letter.data)


@pytest.mark.dialect
async def test_an_error_text_may_contain_any_character(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    """PostgreSQL stores no NUL, and no database stores half a surrogate pair."""
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold) -> None:
        raise ValueError("\ud800\x00" + "x" * 5000)

    settings = Patience(task_tries=2)
    async with shop_and_books(nats, new_database, router, settings=settings) as (shop, books):
        await shop.publish(BookSold(book_id="b"))

        async def buried() -> bool:
            return len(await dead(books)) == 1

        await eventually(buried)
        (letter,) = await dead(books)
        assert letter.tries == 2
        assert letter.reason.startswith("ValueError: ")
        assert len(letter.reason) < 3000
