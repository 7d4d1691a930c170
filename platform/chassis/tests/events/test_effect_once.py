"""An event takes effect once, in its key's order."""

from collections.abc import Callable

from bookshop import Node, accountant, sold

from bookstore.v1 import BookReturned, BookSold
from chassis.testing import NatsServer


async def test_every_event_takes_effect_once_in_the_order_of_its_key(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    shop = await Node(
        "bookstore", new_database("shop"), nats.url, publishes=[BookSold, BookReturned]
    ).start()
    books = await Node("books", new_database("books"), nats.url, router=accountant()).start()
    published = []
    for start in range(0, 1000, 100):
        published += await shop.publish(*(sold(n) for n in range(start, start + 100)))
    await shop.settled()
    await books.settled()
    entries = await books.journal()
    assert sorted(e.event_id for e in entries) == sorted(p.id for p in published)
    for key in {p.partition_key for p in published}:
        assert [e.event_id for e in entries if e.book_id == key] == [
            p.id for p in published if p.partition_key == key
        ]
    await books.stop()
    await shop.stop()
