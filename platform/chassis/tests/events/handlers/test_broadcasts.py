"""A broadcast reaches every replica and has no effect on anything else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bookshop import Node, TestSettings, eventually, write_down
from fake_producer import FakeProducer
from shop_and_books import dead, rows_of_tasks, running_shop
from structlog.contextvars import get_contextvars

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.events.handlers.binding import bind_all
from chassis.events.path import EventPath
from localservers import NatsServer

NewDatabase = Callable[[str], str]


class Hearing:
    """A broadcast handler that records the events it hears."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.logged: list[object] = []
        self.error: BaseException | None = None
        self.router = EventRouter()

        @self.router.broadcast(BookSold)
        async def hear(book: BookSold, event: EventContext) -> None:
            self.ids.append(event.id)
            self.logged.append(get_contextvars().get("event_id"))
            if self.error:
                raise self.error

    async def has(self, contexts: list[EventContext]) -> None:
        expected = [context.id for context in contexts]

        async def holds() -> bool:
            return self.ids == expected

        await eventually(holds)


async def listening(path: EventPath) -> None:
    async def subscribed() -> bool:
        return path.broker_connected()

    await eventually(subscribed)
    await path.broker.client.flush()


@asynccontextmanager
async def replica(router: EventRouter, nats_url: str) -> AsyncIterator[EventPath]:
    """Run a replica without a database, such as one of a gateway."""
    settings = TestSettings()
    handlers, broadcasts = bind_all([router], settings)
    path = EventPath(
        service="gateway",
        version="1",
        nats_url=nats_url,
        settings=settings,
        database=None,
        handlers=handlers,
        broadcasts=broadcasts,
        publishes=[],
    )
    await path.start()
    await listening(path)
    try:
        yield path
    finally:
        await path.close()


def sold(number: int) -> BookSold:
    return BookSold(book_id=f"book {number}")


async def test_every_replica_hears_of_every_event(nats: NatsServer, tmp_path: Path) -> None:
    first, second = Hearing(), Hearing()
    async with (
        running_shop(nats, lambda name: f"sqlite:///{tmp_path}/{name}.db") as shop,
        replica(first.router, nats.url),
        replica(second.router, nats.url),
    ):
        contexts = await shop.publish(*(sold(n) for n in range(20)))
        await first.has(contexts)
        await second.has(contexts)
    assert first.logged == first.ids


async def test_an_error_of_a_broadcast_handler_has_no_effect(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    hearing = Hearing()

    @hearing.router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    async with running_shop(nats, new_database) as shop:
        books = Node("books", new_database("books"), nats.url, router=hearing.router)
        await books.start()
        await listening(books.path)
        contexts: list[EventContext] = []
        errors: list[Any] = [ValueError("no"), SystemExit(1), asyncio.CancelledError(), None]
        for error in errors:
            hearing.error = error
            contexts += await shop.publish(sold(len(contexts)))
            await hearing.has(contexts)
        await shop.settled()
        await books.settled()
        assert [entry.event_id for entry in await books.journal()] == [c.id for c in contexts]
        assert await dead(books) == await rows_of_tasks(books) == []
        await books.stop()


async def test_a_broadcast_that_cannot_be_decoded_is_skipped(nats: NatsServer) -> None:
    hearing = Hearing()
    async with FakeProducer(nats.url) as producer, replica(hearing.router, nats.url):
        await producer.publish(sold(1), data=b"\xff\xff")
        await producer.publish(sold(2), headers={"ce-specversion": None})
        await producer.publish_again("bookstore.v1.BookSold.0", b"not even headers", {})
        await hearing.has([await producer.publish(sold(3))])


async def test_a_failing_broadcast_handler_does_not_affect_others_of_its_type(
    nats: NatsServer,
) -> None:
    hearing = Hearing()
    others: list[str] = []
    hearing.error = ValueError("the first fails")

    @hearing.router.broadcast(BookSold)
    async def also(book: BookSold, event: EventContext) -> None:
        others.append(event.id)

    @hearing.router.broadcast(BookReturned)
    async def unrelated(book: BookReturned) -> None:
        others.append("unrelated")

    async with FakeProducer(nats.url) as producer, replica(hearing.router, nats.url):
        context = await producer.publish(sold(1))
        await hearing.has([context])

        async def both() -> bool:
            return others == [context.id]

        await eventually(both)


async def test_one_handler_hears_of_several_types(nats: NatsServer) -> None:
    router = EventRouter()
    heard: list[type[object]] = []

    @router.broadcast(BookSold, BookReturned)
    async def hear(event: BookSold | BookReturned) -> None:
        heard.append(type(event))

    async with FakeProducer(nats.url) as producer, replica(router, nats.url):
        await producer.publish(sold(1))
        await producer.publish(BookReturned(book_id="1"))

        async def both() -> bool:
            return set(heard) == {BookSold, BookReturned}

        await eventually(both)


async def test_broadcasts_continue_after_the_broker_was_unavailable(nats: NatsServer) -> None:
    hearing = Hearing()
    async with replica(hearing.router, nats.url) as path:
        nats.kill()

        async def away() -> bool:
            return not path.broker.connected.is_set()

        await eventually(away)
        nats.start()

        async def back() -> bool:
            return path.broker.connected.is_set()

        await eventually(back)
        await path.broker.client.flush()
        async with FakeProducer(nats.url) as producer:
            await hearing.has([await producer.publish(sold(1))])
