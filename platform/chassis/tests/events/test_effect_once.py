"""An event takes effect once, in its key's order."""

from collections.abc import Callable

import pytest
from bookshop import accountant, sold
from fake_producer import FakeProducer
from reading import taken_ids
from relaying import StreamView, in_order
from shop_and_books import running_books, running_shop

from bookstore.v1 import BookReturned, BookSold
from chassis.events.producer.event_factory import EventFactory
from chassis.events.wire import event_headers
from chassis.events.wire.event_data import EventFormat
from localservers import NatsServer

TYPES = (BookSold, BookReturned)


@pytest.mark.parametrize(
    ("format", "content_type"),
    [
        pytest.param("protobuf", "application/protobuf", marks=pytest.mark.dialect),
        ("json", "application/json"),
    ],
)
async def test_every_event_takes_effect_once_in_the_order_of_its_key(
    nats: NatsServer, new_database: Callable[[str], str], format: EventFormat, content_type: str
) -> None:
    async with (
        running_shop(nats, new_database) as shop,
        running_books(nats, new_database("books"), accountant()) as books,
    ):
        shop.database.events = EventFactory("bookstore", TYPES, format=format)
        published = []
        for start in range(0, 1000, 100):
            published += await shop.publish(*(sold(n) for n in range(start, start + 100)))
        await shop.settled(60)
        await books.settled(60)
        assert in_order(await taken_ids(books), published)
        stored = await StreamView(nats.url).messages()
    assert {event_headers.header(m.headers, "ce-datacontenttype") for m in stored} == {content_type}


async def test_an_event_in_structured_mode_takes_effect_like_any_other(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    """The event of another producer is in the payload, and its number in a header."""
    router = accountant()
    async with (
        FakeProducer(nats.url) as producer,
        running_books(nats, new_database("books"), router) as books,
    ):
        published = [
            await producer.publish(sold(n, keys=3), structured=n % 2 == 0) for n in range(9)
        ]
        await books.settled(60)
        assert in_order(await taken_ids(books), published)
        assert (await books.path.ledger()).dead_letters == 0
