"""A producer's database and its stream, both put back to an older copy at once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from backup import back_up, restore
from bookshop import Node, accountant, eventually, sold
from reading import has_taken, is_stopped, returned_by
from relaying import Shop

from localservers import NatsServer


async def test_new_events_under_numbers_that_were_taken_stop_their_lane(
    nats: NatsServer, new_database: Callable[[str], str], tmp_path: Path
) -> None:
    url = new_database("shop")
    async with (
        Node("books", new_database("books"), nats.url, router=accountant()) as books,
        Shop(url) as shop,
    ):
        relay = shop.start_relay(nats.url)
        before = await shop.publish(*[sold(0)] * 20)
        await shop.sent()
        await relay.stop()
        backup = back_up(url)
        nats.stop()
        nats.copy_store(tmp_path / "copy")
        nats.start()
        relay = shop.start_relay(nats.url)
        forgotten = await shop.publish(*[sold(0)] * 20)
        await has_taken(books, 40)
        await relay.stop()
        restore(url, backup)
        nats.stop()
        nats.restore_store(tmp_path / "copy")
        nats.start()
        shop.start_relay(nats.url)
        # They get the numbers of what was forgotten.
        await shop.publish(*[sold(0)] * 21)
        await shop.sent()

        async def is_stopped() -> bool:
            return bool((await books.path.ledger()).stopped)

        await eventually(is_stopped)
        (said,) = (await books.path.ledger()).stopped
        assert "put back: number 40 is another event" in said
        taken = [entry.event_id for entry in await books.journal()]
        assert taken == [event.id for event in before + forgotten]


@pytest.mark.parametrize("anew", [20, 21], ids=["as many as were forgotten", "more"])
async def test_new_events_under_numbers_that_were_taken_are_noticed_by_who_starts_later(
    anew: int, nats: NatsServer, new_database: Callable[[str], str], tmp_path: Path
) -> None:
    url, books_url = new_database("shop"), new_database("books")
    async with Shop(url) as shop:
        relay = shop.start_relay(nats.url)
        await shop.publish(*[sold(0)] * 20, *map(returned_by, range(40)))
        await shop.sent()
        await relay.stop()
        backup = back_up(url)
        nats.stop()
        nats.copy_store(tmp_path / "copy")
        nats.start()
        relay = shop.start_relay(nats.url)
        forgotten = await shop.publish(*[sold(0)] * 20)
        async with Node("books", books_url, nats.url, router=accountant()) as books:
            await has_taken(books, 80)
        await relay.stop()
        restore(url, backup)
        nats.stop()
        nats.restore_store(tmp_path / "copy")
        nats.start()
        shop.start_relay(nats.url)
        await shop.publish(*[sold(0)] * anew)
        await shop.sent()
        async with Node("books", books_url, nats.url, router=accountant()) as books:
            (said,) = [line for line in await is_stopped(books) if "BookSold" in line]
            assert "put back: number 40 is another event" in said
            assert (await books.path.ledger()).lag >= 1
            sales = [e.event_id for e in await books.journal() if e.type.endswith("BookSold")]
            assert sales[20:] == [event.id for event in forgotten]
