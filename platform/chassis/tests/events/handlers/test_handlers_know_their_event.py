"""Context of a handler: its event, and the cause of the events that it publishes."""

import asyncio
from collections.abc import Callable, Sequence

from bookshop import Node, eventually
from shop_and_books import Patience, in_one_batch, shop_and_books
from structlog.contextvars import get_contextvars

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from localservers import NatsServer

NewDatabase = Callable[[str], str]


def logged_id() -> object:
    return get_contextvars().get("event_id")


async def test_log_lines_of_every_form_of_handler_carry_the_event_id(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    seen: dict[str, list[object]] = {"one": [], "async": [], "transact": []}
    ids: dict[str, list[str]] = {"one": [], "async": []}
    router = EventRouter()

    @router.on(BookSold)
    def one(book: BookSold, event: EventContext) -> None:
        seen["one"].append(logged_id())
        ids["one"].append(event.id)
        # An event is tried in a batch, then by itself, then as a task.
        if seen["one"].count(event.id) < 3:
            raise ValueError("again")

    @router.on(BookReturned)
    async def waiting(book: BookReturned, event: EventContext, transact: Transact) -> None:
        seen["async"].append(logged_id())
        ids["async"].append(event.id)
        await asyncio.sleep(0.01)
        await transact(lambda tx: seen["transact"].append(logged_id()))

    async with shop_and_books(nats, new_database, router, settings=Patience()) as (shop, books):
        async with in_one_batch(shop, books):
            await shop.publish(*(BookSold(book_id=f"b {n}") for n in range(3)))
            await shop.publish(*(BookReturned(book_id=f"b {n}") for n in range(3, 6)))
        await books.settled()
    assert seen["one"] == ids["one"]
    assert len(set(ids["one"])) == 3
    assert seen["async"] == ids["async"]
    assert sorted(map(str, seen["transact"])) == sorted(ids["async"])
    assert logged_id() is None


async def test_published_events_name_their_cause_and_the_first_event_over_three_hops(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    """The service handles its own events: sold, returned, sold again, returned again."""
    contexts: list[EventContext] = []
    router = EventRouter()

    @router.on(BookSold)
    def sold(book: BookSold, tx: Transaction, event: EventContext) -> None:
        contexts.append(event)
        tx.publish(BookReturned(book_id=book.book_id, customer_id=str(book.price)))

    @router.on_batch(BookReturned)
    def returned(
        books: Sequence[BookReturned], events: Sequence[EventContext], tx: Transaction
    ) -> None:
        contexts.extend(events)
        for book, event in zip(books, events, strict=True):
            if int(book.customer_id):
                price = int(book.customer_id) - 1
                tx.publish(BookSold(book_id=book.book_id, price=price), cause=event)

    shop = await Node(
        "bookstore",
        new_database("shop"),
        nats.url,
        router=router,
        publishes=[BookSold, BookReturned],
    ).start()
    (first,) = await shop.publish(BookSold(book_id="b", price=1))

    async def four_hops() -> bool:
        return len(contexts) == 4

    await eventually(four_hops)
    await shop.stop()
    assert contexts[0].id == first.id
    assert [context.causation_id for context in contexts] == [
        None,
        *(context.id for context in contexts[:3]),
    ]
    assert {context.correlation_id for context in contexts} == {first.id}
    assert [context.sequence for context in contexts] == [1, 1, 2, 2]
    assert {context.source for context in contexts} == {"bookstore"}
    assert {context.partition_key for context in contexts} == {"b"}


async def test_events_of_an_on_batch_handler_have_no_cause_by_default(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    """No event of a batch is more the cause than another."""
    published: list[EventContext] = []
    router = EventRouter()

    @router.on(BookSold)
    def one(book: BookSold, tx: Transaction) -> None:
        published.append(tx.publish(BookSold(book_id="x")))

    @router.on_batch(BookReturned)
    def many(books: Sequence[BookReturned], tx: Transaction) -> None:
        published.append(tx.publish(BookSold(book_id="x")))

    async with shop_and_books(nats, new_database, router, settings=Patience()) as (shop, books):
        books.database.events = shop.database.events
        async with in_one_batch(shop, books):
            (context, _) = await shop.publish(BookSold(book_id="a"), BookReturned(book_id="b"))

        async def both() -> bool:
            return len(published) == 2

        await eventually(both)
    assert [p.causation_id for p in published] == [context.id, None]
    assert published[1].correlation_id == published[1].id
