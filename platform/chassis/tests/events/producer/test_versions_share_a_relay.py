"""The leading relay may be of another version than the replica that published its events."""

from collections.abc import Callable

import pytest
from bookshop import eventually, sold
from relaying import Shop, StreamView, in_order

from bookstore.v1 import BookReturned, BookSold
from localservers import NatsServer

pytestmark = pytest.mark.dialect


async def test_types_that_only_a_newer_version_declares_are_sent_by_an_older_one(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url, types=[BookSold])
        await shop.sell(range(3))
        await shop.sent()
        await shop.publish(BookReturned(book_id="book-1"))
        await shop.sent()
        await shop.publish(sold(1), BookReturned(book_id="book-1"), sold(2))
        await shop.sent()
        assert in_order(await StreamView(nats.url).ids(), shop.published)


async def test_types_that_the_newer_version_no_longer_declares_are_sent_again_by_it(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        older = shop.start_relay(nats.url)
        await shop.publish(sold(1), BookReturned(book_id="book-1"), sold(2))
        await shop.sent()
        await older.stop()
        shop.start_relay(nats.url, types=[BookSold])
        await shop.sell(range(3, 6))
        await shop.sent()
        nats.kill()
        nats.erase()
        nats.start()
        await shop.sell(range(6, 10))

        async def whole() -> bool:
            return in_order(await StreamView(nats.url).ids(), shop.published)

        await eventually(whole)
