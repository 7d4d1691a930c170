"""A broker of three servers, of which one is killed again and again."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from bookshop import Node, TestSettings, accountant, eventually
from broker_cluster import BrokerCluster
from relaying import STREAM, Shop, StreamView, in_order

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]
SETTINGS = TestSettings(stream_replicas=3)
KILLS = 3


async def test_events_are_stored_once_and_in_order_while_leaders_of_the_stream_are_killed(
    tmp_path: Path, new_database: Callable[[str], str]
) -> None:
    async with (
        BrokerCluster(tmp_path) as broker,
        Shop(new_database("shop"), settings=SETTINGS) as shop,
        Node(
            "books", new_database("books"), broker.url, router=accountant(), settings=SETTINGS
        ) as books,
    ):
        shop.start_relay(broker.url)
        end = asyncio.Event()
        selling = asyncio.create_task(sell_until(end, shop))
        for _ in range(KILLS):
            leader = await broker.leader(STREAM)
            there = len(shop.published)
            await eventually(partial(sold_more, shop, there + 100), 60)
            await asyncio.to_thread(leader.kill)
            await eventually(partial(sold_more, shop, there + 200), 60)
            await asyncio.to_thread(leader.start)
        end.set()
        await selling
        await shop.sent(60)
        view = StreamView(broker.url)
        assert await view.ranks() == list(range(1, len(shop.published) + 1))
        assert in_order(await view.ids(), shop.published)

        async def all_handled() -> bool:
            return len(await books.journal()) >= len(shop.published)

        await eventually(all_handled, 60)
        assert in_order([entry.event_id for entry in await books.journal()], shop.published)


async def sell_until(end: asyncio.Event, shop: Shop) -> None:
    """Publish events in transactions of 1 to 50, whether the broker is there or not."""
    while not end.is_set():
        await shop.sell(range(1 + len(shop.published) * 7 % 50))
        shop.wake()
        await asyncio.sleep(0.05)


async def sold_more(shop: Shop, events: int) -> bool:
    return len(shop.published) >= events
