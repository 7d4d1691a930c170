"""An event that fails is tried again, in its key's order, and delays no other key."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable

import grpc.aio
import pytest
from bookshop import Node, eventually, write_down
from fake_producer import FakeProducer
from shop_and_books import Patience, dead, rows_of_tasks, running_books, settled, shop_and_books
from sqlalchemy import update

from bookstore.v1 import BookReturned, BookSold, BooksServiceStub, GetBookRequest
from chassis import EventContext, EventRouter, Reject, Transact, Transaction, Unavailable
from chassis.database import tables
from chassis.event_settings import EventSettings
from chassis.events.tasks import dead_letter_rows
from chassis.events.tasks.backoff import backoff
from localservers import NatsServer, free_port

NewDatabase = Callable[[str], str]


def book(key: str, number: int = 0, *, bad: bool = False) -> BookSold:
    return BookSold(book_id=key, customer_id=str(number), price=-1 if bad else 1)


class Failing:
    """A handler that fails with each bad event until the test mends it."""

    def __init__(self, error: Callable[[], BaseException] = ValueError) -> None:
        self.mended = False
        self.router = EventRouter()
        self.calls: Counter[str] = Counter()

        @self.router.on(BookSold)
        def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
            self.calls[event.id] += 1
            write_down(tx, event)
            if book.price < 0 and not self.mended:
                raise error()


async def ids(books: Node) -> list[str]:
    return [entry.event_id for entry in await books.journal()]


async def test_events_of_a_failed_events_key_wait_and_all_others_pass(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    settings = Patience(task_backoff_seconds=600)
    failing = Failing()
    async with FakeProducer(nats.url) as producer:
        failed = await producer.publish(book("a", bad=True))
        behind = [await producer.publish(book("a", n)) for n in range(3)]
        other_key = await producer.publish(book("b"))
        # The same key of another producer has its own order.
        elsewhere = {"ce-source": "elsewhere"}
        other_source = await producer.publish(book("a"), headers=elsewhere)
        url = new_database("books")
        async with running_books(nats, url, failing.router, settings=settings) as books:

            async def passed() -> bool:
                return await ids(books) == [other_key.id, other_source.id]

            await eventually(passed)
            waiting = await rows_of_tasks(books)
            assert [task.event_id for task in waiting] == [failed.id, *(b.id for b in behind)]
            failing.mended = True
            # The first task is made due.
            await books.database.transaction(
                lambda tx: tx.session.execute(update(tables.tasks).values(due_at=0))
            )
            await books.settled()
            assert (await ids(books))[2:] == [failed.id, *(b.id for b in behind)]


def test_the_time_between_tries_doubles_up_to_a_limit_and_is_jittered() -> None:
    settings = EventSettings(task_backoff_seconds=2, task_backoff_max_seconds=9)
    waits = {tries: {backoff(tries, settings) for _ in range(100)} for tries in (1, 2, 3, 4, 5000)}
    for tries, longest in {1: 2, 2: 4, 3: 8, 4: 9, 5000: 9}.items():
        assert all(longest / 2 <= seconds <= longest for seconds in waits[tries])
        assert len(waits[tries]) > 50


async def test_a_failed_event_is_tried_again_until_it_takes_effect(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    settings = Patience(task_tries=1000, task_backoff_max_seconds=0.02)
    failing = Failing()
    async with shop_and_books(nats, new_database, failing.router, settings=settings) as (
        shop,
        books,
    ):
        contexts = await shop.publish(book("a", bad=True), book("a"), book("a", bad=True))

        async def tried() -> bool:
            return failing.calls[contexts[0].id] > 3

        await eventually(tried)
        assert await ids(books) == []
        failing.mended = True
        await settled(shop, books)
        assert await ids(books) == [context.id for context in contexts]
        assert await dead(books) == []


@pytest.mark.dialect
async def test_an_event_out_of_tries_is_a_complete_dead_letter_and_the_next_continues(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    failing = Failing(lambda: ValueError("a negative price\nand more of it"))
    settings = Patience(task_tries=3)
    async with shop_and_books(nats, new_database, failing.router, settings=settings) as (
        shop,
        books,
    ):
        bad, good = await shop.publish(book("a", 7, bad=True), book("a"))
        await settled(shop, books)
        assert await ids(books) == [good.id]
        (letter,) = await dead(books)
        assert letter.tries == 3
        assert letter.reason == "ValueError: a negative price"
        assert BookSold.FromString(letter.data) == book("a", 7, bad=True)
        headers = json.loads(letter.headers)
        assert headers["ce-id"] == letter.event_id == bad.id
        assert headers["ce-source"] == letter.source == "bookstore"
        assert (letter.key, letter.type) == ("a", "bookstore.v1.BookSold")
        assert letter.died_at == pytest.approx(time.time(), abs=60)


async def test_a_task_that_is_rejected_is_a_dead_letter_at_once(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    error: list[Exception] = [ValueError("try again")]
    failing = Failing(lambda: error[0])
    async with shop_and_books(nats, new_database, failing.router, settings=Patience()) as (
        shop,
        books,
    ):
        await shop.publish(book("a", bad=True))

        async def failed() -> bool:
            return len(await rows_of_tasks(books)) == 1

        await eventually(failed)
        error[0] = Reject("never mind")
        await settled(shop, books)
        (letter,) = await dead(books)
        assert letter.reason == "rejected: never mind"
        assert letter.tries < 5


class Unspeakable(Exception):
    """An error whose text cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("error", [Unspeakable, SystemExit, asyncio.CancelledError])
async def test_an_error_of_any_kind_costs_a_try(
    nats: NatsServer, new_database: NewDatabase, error: type[BaseException]
) -> None:
    settings = Patience(task_tries=2)
    router = Failing(error).router
    async with shop_and_books(nats, new_database, router, settings=settings) as (shop, books):
        _, good = await shop.publish(book("a", bad=True), book("a"))
        await settled(shop, books)
        assert await ids(books) == [good.id]
        (letter,) = await dead(books)
        assert (letter.tries, letter.reason) == (2, f"{error.__name__}: ")


@pytest.mark.dialect
async def test_redriven_dead_letters_come_last_of_their_key_and_take_effect(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    settings = Patience(task_tries=1)
    gate = threading.Event()
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        if not gate.is_set() and book.price < 0:
            raise ValueError("not yet")
        write_down(tx, event)

    @router.on(BookReturned)
    async def wait(book: BookReturned, event: EventContext, transact: Transact) -> None:
        await asyncio.to_thread(gate.wait)
        await transact(write_down, event)

    async with shop_and_books(nats, new_database, router, settings=settings) as (shop, books):
        first, second = await shop.publish(book("a", 1, bad=True), book("a", 2, bad=True))
        # A running task and the tasks behind it stay before those that are redriven.
        running = await shop.publish(BookReturned(book_id="a"), book("a"))

        async def all_in() -> bool:
            return (len(await dead(books)), len(await rows_of_tasks(books))) == (2, 2)

        await eventually(all_in)
        number = await books.database.transaction(lambda tx: dead_letter_rows.redrive(tx.session))
        assert number == 2
        gate.set()
        await settled(shop, books)
        assert await ids(books) == [*(context.id for context in running), first.id, second.id]
        assert await dead(books) == []


async def test_single_dead_letters_can_be_redriven(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    settings = Patience(task_tries=1)
    failing = Failing()
    async with shop_and_books(nats, new_database, failing.router, settings=settings) as (
        shop,
        books,
    ):
        contexts = await shop.publish(*(book(f"key {n}", bad=True) for n in range(3)))

        async def died() -> bool:
            return len(await dead(books)) == 3

        await eventually(died)
        failing.mended = True
        chosen = [letter for letter in await dead(books) if letter.event_id == contexts[1].id]
        await books.database.transaction(
            lambda tx: dead_letter_rows.redrive(tx.session, [letter.id for letter in chosen])
        )
        await settled(shop, books)
        assert await ids(books) == [contexts[1].id]
        assert len(await dead(books)) == 2


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_an_unavailable_service_costs_no_try(
    nats: NatsServer, new_database: NewDatabase, kind: str
) -> None:
    calls = 0
    router = EventRouter()

    def ask() -> None:
        nonlocal calls
        calls += 1
        if calls < 6:
            raise Unavailable("the service is down")

    if kind == "def":

        @router.on(BookSold)
        def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
            ask()
            write_down(tx, event)
    else:

        @router.on(BookSold)
        async def handle_async(book: BookSold, event: EventContext, transact: Transact) -> None:
            ask()
            await transact(write_down, event)

    settings = Patience(task_tries=1)
    async with shop_and_books(nats, new_database, router, settings=settings) as (shop, books):
        (context,) = await shop.publish(book("a"))
        await settled(shop, books)
        assert await ids(books) == [context.id]
        assert calls == 6


async def test_an_event_that_waits_too_long_for_a_service_is_a_dead_letter(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    def unavailable() -> Exception:
        return Unavailable("the service is down")

    settings = Patience(task_tries=1, task_max_age_seconds=0.3)
    router = Failing(unavailable).router
    async with shop_and_books(nats, new_database, router, settings=settings) as (shop, books):
        _, good = await shop.publish(book("a", bad=True), book("a"))
        await settled(shop, books)
        assert await ids(books) == [good.id]
        (letter,) = await dead(books)
        assert letter.tries == 0
        assert letter.reason.endswith("Unavailable: the service is down")


async def test_an_unavailable_error_of_a_grpc_client_costs_no_try(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    router = EventRouter()
    calls = 0

    @router.on(BookSold)
    async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
        nonlocal calls
        calls += 1
        if calls < 4:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port()}") as channel:
                await BooksServiceStub(channel).GetBook(GetBookRequest(book_id=book.book_id))
        await transact(write_down, event)

    settings = Patience(task_tries=1)
    async with shop_and_books(nats, new_database, router, settings=settings) as (shop, books):
        (context,) = await shop.publish(book("a"))
        await settled(shop, books)
        assert await ids(books) == [context.id]
        assert calls == 4
