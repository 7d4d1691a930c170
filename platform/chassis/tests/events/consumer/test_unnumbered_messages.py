"""Messages of other publishers may imitate the broker's status messages, and are skipped."""

from collections.abc import Callable

import nats as nats_py
import pytest
from bookshop import Node, accountant, sold
from reading import has_taken
from relaying import Shop

from localservers import NatsServer


@pytest.mark.parametrize(
    "headers",
    [
        {"Status": "1.5"},
        {"Status": ""},
        {"Status": "404"},
        {"Status": "409", "Description": "Consumer Deleted"},
        {"Status": "503"},
        {"Nats-Sequence": "x", "Nats-Subject": "elsewhere"},
    ],
)
async def test_a_status_header_of_another_publisher_is_not_one_of_the_broker(
    nats: NatsServer, new_database: Callable[[str], str], headers: dict[str, str]
) -> None:
    books = Node("books", new_database("books"), nats.url, router=accountant())
    async with Shop(new_database("shop")) as shop, books:
        shop.start_relay(nats.url)
        await shop.sell(range(20))
        await has_taken(books, 20)
        async with await nats_py.connect(nats.url) as stranger:
            for lane in range(20):
                await stranger.request(f"bookstore.v1.BookSold.{lane}", b"", headers=headers)

        await shop.publish(*map(sold, range(20, 40)))

        await has_taken(books, 40)
        assert (await books.path.ledger()).lag == 0
