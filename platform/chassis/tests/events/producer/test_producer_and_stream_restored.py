"""A producer's database and its stream are restored to an older copy at the same time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from backup import Backup, back_up, restore
from bookshop import Node, accountant, sold
from reading import has_taken, is_stopped, returned_by
from relaying import Shop

from localservers import NatsServer


@dataclass(frozen=True)
class Copy:
    """A backup of a producer's database, and a copy of the broker's store."""

    backup: Backup
    store: Path


def copy_all(url: str, nats: NatsServer, folder: Path) -> Copy:
    """Copy the database and the broker's store, while the broker is stopped."""
    backup = back_up(url)
    nats.stop()
    nats.copy_store(folder)
    nats.start()
    return Copy(backup, folder)


def restore_all(url: str, nats: NatsServer, copy: Copy) -> None:
    """Restore the database and the broker's store, while the broker is stopped."""
    restore(url, copy.backup)
    nats.stop()
    nats.restore_store(copy.store)
    nats.start()


async def test_new_events_under_numbers_that_were_handled_stop_their_lane(
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
        copy = copy_all(url, nats, tmp_path / "copy")
        relay = shop.start_relay(nats.url)
        forgotten = await shop.publish(*[sold(0)] * 20)
        await has_taken(books, 40)
        await relay.stop()
        restore_all(url, nats, copy)
        shop.start_relay(nats.url)
        # The new events get the numbers of the forgotten ones.
        await shop.publish(*[sold(0)] * 21)
        await shop.sent()
        (said,) = await is_stopped(books)
        assert "older copies: number 40 is another event" in said
        handled = [entry.event_id for entry in await books.journal()]
        assert handled == [event.id for event in before + forgotten]


@pytest.mark.parametrize("count", [20, 21], ids=["equal to the forgotten ones", "more"])
async def test_new_events_under_handled_numbers_are_noticed_by_a_consumer_that_starts_later(
    count: int, nats: NatsServer, new_database: Callable[[str], str], tmp_path: Path
) -> None:
    url, books_url = new_database("shop"), new_database("books")
    async with Shop(url) as shop:
        relay = shop.start_relay(nats.url)
        await shop.publish(*[sold(0)] * 20, *map(returned_by, range(40)))
        await shop.sent()
        await relay.stop()
        copy = copy_all(url, nats, tmp_path / "copy")
        relay = shop.start_relay(nats.url)
        forgotten = await shop.publish(*[sold(0)] * 20)
        async with Node("books", books_url, nats.url, router=accountant()) as books:
            await has_taken(books, 80)
        await relay.stop()
        restore_all(url, nats, copy)
        shop.start_relay(nats.url)
        await shop.publish(*[sold(0)] * count)
        await shop.sent()
        async with Node("books", books_url, nats.url, router=accountant()) as books:
            (said,) = [line for line in await is_stopped(books) if "BookSold" in line]
            assert "older copies: number 40 is another event" in said
            assert (await books.path.ledger()).lag >= 1
            sales = [e.event_id for e in await books.journal() if e.type.endswith("BookSold")]
            assert sales[20:] == [event.id for event in forgotten]
