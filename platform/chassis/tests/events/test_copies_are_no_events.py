"""Whoever may read a stream can have the broker send what it holds to any subject: these copies are
nobody's events, announcements or commands."""

import json
from collections.abc import Callable

import nats as nats_py
from bookshop import Node, TestSettings, accountant, eventually, sold
from nats.aio.client import Client
from reading import has_taken, taken_ids
from relaying import STREAM, TYPES, Shop, StreamView, in_order

from bookstore.v1 import BookSold
from chassis import EventRouter
from chassis.events.connection import connection
from chassis.events.lanes import LANES
from chassis.events.nats_options import NatsOptions
from chassis.events.streams import last_stored, read_from
from chassis.testing import NatsServer

FORGED = {
    "ce-id": "forged", "ce-source": STREAM, "ce-type": "bookstore.v1.BookSold",
    "ce-specversion": "1.0", "ce-partitionkey": "book-1", "ce-sequence": f"{1000:016d}",
    "slipway-rank": "1000", "slipway-generation": "01999999-9999-7999-8999-999999999999",
}  # fmt: skip


async def copy_to(client: Client, subject: str, ways: tuple[str, ...], data: bytes = b"") -> None:
    """As an attacker does who may only write and read the stream `mine`."""
    api = StreamView(client.connected_url.geturl() if client.connected_url else "").api
    await api("STREAM.CREATE.mine", {"name": "mine", "subjects": ["mine.*"], "allow_direct": True})
    await client.request("mine.1", data, headers=FORGED)
    if "direct" in ways:
        query = json.dumps({"last_by_subj": "mine.1"}).encode()
        await client.publish("$JS.API.DIRECT.GET.mine", query, reply=subject)
    if "pull" in ways:
        config = {"name": "pull", "ack_policy": "none", "deliver_policy": "last"}
        await api("CONSUMER.CREATE.mine.pull", {"stream_name": "mine", "config": config})
        await client.publish("$JS.API.CONSUMER.MSG.NEXT.mine.pull", b"", reply=subject)
    await client.flush()


async def test_a_copy_in_a_services_stream_is_neither_taken_nor_taken_for_its_end(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    books = Node("books", new_database("books"), nats.url, router=accountant())
    async with Shop(new_database("shop")) as shop, books:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(20))
        await has_taken(books, 20)
        view = StreamView(nats.url)
        async with await nats_py.connect(nats.url) as attacker:
            before = (await view.api(f"STREAM.INFO.{STREAM}"))["state"]["messages"]
            await copy_to(attacker, "bookstore.v1.BookSold.1", ("direct",))

            async def is_stored() -> bool:
                info = await view.api(f"STREAM.INFO.{STREAM}")
                return bool(info["state"]["messages"] == before + 1)

            await eventually(is_stored)
        # What they have sent is in the stream, with all that a relay writes; nobody believes it.
        async with connection(NatsOptions(nats.url), "view") as client:
            last = await last_stored(client, STREAM)
            assert last is not None
            assert last.headers["slipway-rank"] == "1000"
            assert [s.sequence async for s in read_from(client, STREAM, last.sequence)] == [21]
        await relay.stop()
        shop.start_relay(nats.url)
        await shop.sell(range(20, 40))
        await has_taken(books, 40)
        assert in_order(await taken_ids(books), shop.published)
        assert [rank for rank in await view.ranks() if rank <= 40] == list(range(1, 41))
        await books.settled()


async def test_a_copy_announces_no_member_and_is_no_broadcast(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    heard: list[str] = []
    router = accountant()
    listening = EventRouter()

    @listening.broadcast(BookSold)
    async def hear(book: BookSold) -> None:
        heard.append(book.customer_id)

    router.subscriptions += listening.subscriptions
    said = json.dumps({"version": "1", "ttl": 60, "database": None, "joined": True}).encode()
    settings = TestSettings(member_ttl_seconds=60)
    async with Node(
        "books", new_database("books"), nats.url, router=router, settings=settings
    ) as books:

        async def has_all_lanes() -> bool:
            assert books.path.members
            return len(books.path.members.lanes) == LANES

        await eventually(has_all_lanes)
        async with await nats_py.connect(nats.url) as attacker:
            await copy_to(attacker, "slipway.members.books.forged", ("direct", "pull"), said)
            event = BookSold(book_id="1", customer_id="copied").SerializeToString()
            await copy_to(attacker, "bookstore.v1.BookSold.1", ("direct", "pull"), event)
        shop = Node("bookstore", new_database("shop"), nats.url, publishes=TYPES)
        async with shop:
            await shop.publish(sold(7))
            await has_taken(books, 1)

            async def is_heard() -> bool:
                return "7" in heard

            await eventually(is_heard)
        assert heard == ["7"]
        assert await has_all_lanes()
        # Who comes later reads the announcements that are kept.
        newcomer = Node("books", books.url, nats.url, router=accountant(), settings=settings)
        async with newcomer:

            async def has_half() -> bool:
                assert newcomer.path.members
                return len(newcomer.path.members.lanes) == LANES // 2

            await eventually(has_half)
