"""An async handler that calls an external service delays no other event and takes effect once."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from bookshop import Node, eventually, write_down
from outside import Outside
from shop_and_books import Patience, dead, failures, rows_of_tasks, shop_and_books

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from localservers import NatsServer

NewDatabase = Callable[[str], str]


@pytest.fixture
def outside() -> Iterator[Outside]:
    with Outside() as server:
        yield server


def asking(outside: Outside) -> EventRouter:
    """Return handlers that report sold books to the outside, and only write down returned ones."""
    router = EventRouter()

    @router.on(BookSold)
    async def tell(book: BookSold, event: EventContext, transact: Transact) -> None:
        await outside.ask(event.id)
        await transact(write_down, event)

    @router.on(BookReturned)
    def note(book: BookReturned, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    return router


async def settled(shop: Node, books: Node) -> None:
    await shop.settled()
    await books.settled()


async def written(books: Node) -> list[str]:
    return [entry.event_id for entry in await books.journal()]


async def test_an_external_service_gets_the_event_id_and_each_key_keeps_its_order(
    nats: NatsServer, new_database: NewDatabase, outside: Outside
) -> None:
    router = asking(outside)
    async with shop_and_books(nats, new_database, router, settings=Patience()) as (shop, books):
        contexts = await shop.publish(*(BookSold(book_id=f"key {n % 4}") for n in range(16)))
        await settled(shop, books)
        ids = await written(books)
        for first in range(4):
            of_key = [context.id for context in contexts[first::4]]
            assert [id for id in ids if id in of_key] == of_key
        assert outside.asked == {context.id: 1 for context in contexts}


async def test_a_slow_external_service_never_holds_a_lane(
    nats: NatsServer, new_database: NewDatabase, outside: Outside
) -> None:
    outside.may_answer.clear()
    router = asking(outside)
    async with shop_and_books(nats, new_database, router, settings=Patience()) as (shop, books):
        sold = await shop.publish(*(BookSold(book_id=f"slow {n}") for n in range(30)))
        (behind,) = await shop.publish(BookReturned(book_id="slow 0"))
        passing = await shop.publish(*(BookReturned(book_id=f"quick {n}") for n in range(30)))

        async def passed() -> bool:
            return await written(books) == [context.id for context in passing]

        await eventually(passed)

        async def asked() -> bool:
            # A quarter of the places stays free for the other type.
            return len(outside.asked) == Patience().task_concurrency * 3 // 4

        await eventually(asked)
        # No more attempts run, because all places of the type are occupied.
        assert await asked()
        outside.may_answer.set()
        await settled(shop, books)
        ids = await written(books)
        assert sorted(ids) == sorted(c.id for c in (*sold, behind, *passing))
        assert ids.index(behind.id) > ids.index(sold[0].id)


async def test_an_external_service_that_fails_is_called_again_with_the_same_id(
    nats: NatsServer, new_database: NewDatabase, outside: Outside
) -> None:
    outside.failures = 3
    router = asking(outside)
    async with shop_and_books(nats, new_database, router, settings=Patience()) as (shop, books):
        (context,) = await shop.publish(BookSold(book_id="a"))
        await settled(shop, books)
        assert outside.asked == {context.id: 4}
        assert await written(books) == [context.id]


async def test_an_external_service_that_always_fails_makes_a_dead_letter(
    nats: NatsServer, new_database: NewDatabase, outside: Outside
) -> None:
    outside.failures = 10
    router = asking(outside)
    settings = Patience(task_tries=3)
    async with shop_and_books(nats, new_database, router, settings=settings) as (shop, books):
        (context,) = await shop.publish(BookSold(book_id="a"))
        await settled(shop, books)
        (letter,) = await dead(books)
        assert (letter.event_id, letter.tries, outside.asked[context.id]) == (context.id, 3, 3)
        assert letter.reason.startswith("HTTPStatusError: Server error '503")


async def test_a_handler_may_transact_once_and_an_error_after_it_does_not_matter(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    second: list[Exception] = []
    router = EventRouter()

    @router.on(BookSold)
    async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
        await transact(write_down, event)
        try:
            await transact(write_down, event)
        except RuntimeError as error:
            second.append(error)
        raise ValueError("too late to fail")

    before = failures()
    async with shop_and_books(nats, new_database, router, settings=Patience()) as (shop, books):
        (context,) = await shop.publish(BookSold(book_id="a"))
        await settled(shop, books)

        async def over() -> bool:
            return bool(second)

        await eventually(over)
        assert await written(books) == [context.id]
        assert await dead(books) == []
        assert failures() == before
        (error,) = second
        assert "at most once" in str(error)


async def test_two_concurrent_transacts_take_effect_once(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    outcomes: list[tuple[BaseException | None, BaseException | None]] = []
    router = EventRouter()

    @router.on(BookSold)
    async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
        calls = (transact(write_down, event), transact(write_down, event))
        outcomes.append(await asyncio.gather(*calls, return_exceptions=True))

    async with shop_and_books(nats, new_database, router, settings=Patience()) as (shop, books):
        (context,) = await shop.publish(BookSold(book_id="a"))
        await settled(shop, books)

        async def over() -> bool:
            return bool(outcomes)

        await eventually(over)
        assert await written(books) == [context.id]
        assert sum(outcome is None for outcome in outcomes[0]) == 1


async def test_a_failed_transact_changes_nothing_and_may_be_followed_by_another(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    router = EventRouter()

    def fail(tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)
        raise LookupError("refused")

    @router.on(BookSold)
    async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
        try:
            await transact(fail, event)
        except LookupError:
            await transact(write_down, event, member="second transact")

    async with shop_and_books(nats, new_database, router, settings=Patience()) as (shop, books):
        await shop.publish(BookSold(book_id="a"))
        await settled(shop, books)
        assert [entry.member for entry in await books.journal()] == ["second transact"]


async def test_a_handler_without_a_transact_finishes_its_task(
    nats: NatsServer, new_database: NewDatabase, outside: Outside
) -> None:
    router = EventRouter()

    @router.on(BookSold)
    async def tell(book: BookSold, event: EventContext) -> None:
        await outside.ask(event.id)

    async with shop_and_books(nats, new_database, router, settings=Patience()) as (shop, books):
        contexts = await shop.publish(BookSold(book_id="a"), BookSold(book_id="a"))
        await settled(shop, books)
        assert outside.asked == {context.id: 1 for context in contexts}
        assert await rows_of_tasks(books) == []


async def test_an_event_that_transact_publishes_is_caused_by_the_handled_event(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    published: list[EventContext] = []
    router = EventRouter()

    def give_back(tx: Transaction, book: BookSold) -> str:
        published.append(tx.publish(BookReturned(book_id=book.book_id)))
        return "done"

    @router.on(BookSold)
    async def handle(book: BookSold, transact: Transact) -> None:
        assert await transact(give_back, book) == "done"

    async with shop_and_books(nats, new_database, router, settings=Patience()) as (shop, books):
        books.database.events = shop.database.events
        (context,) = await shop.publish(BookSold(book_id="a"))

        async def done() -> bool:
            return bool(published)

        await eventually(done)
        assert (published[0].causation_id, published[0].correlation_id) == (context.id, context.id)
