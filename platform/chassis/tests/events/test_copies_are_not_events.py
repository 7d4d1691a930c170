"""Copies that the broker sends from a stream are not events, announcements or commands.

A client that may read a stream can make the broker send its messages to any subject.
"""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import nats as nats_py
import pytest
from bookshop import Node, TestSettings, accountant, eventually, sold, write_down
from nats.aio.client import Client
from reading import has_taken, position_of, taken_ids
from relaying import STREAM, TYPES, Shop, StreamView, in_order
from structlog.testing import capture_logs

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.events.handlers.router import Start
from chassis.events.jetstream.api import JetStreamError
from chassis.events.producer import outbox
from chassis.events.wire import event_headers
from chassis.events.wire.lanes import LANES, lane_of
from chassis.ids import uuid7
from localservers import NatsServer

SOLD = "bookstore.v1.BookSold"
FORGED = {
    "ce-id": "forged", "ce-source": STREAM, "ce-type": "bookstore.v1.BookSold",
    "ce-specversion": "1.0", "ce-partitionkey": "book-1", "ce-sequence": f"{1000:016d}",
    "slipway-rank": "1000", "slipway-generation": "01999999-9999-7999-8999-999999999999",
}  # fmt: skip


async def copy_to(client: Client, subject: str, ways: tuple[str, ...], data: bytes = b"") -> None:
    """Store messages in the stream `mine`, as an attacker who may use only this stream."""
    api = as_administrator(client)
    await api("STREAM.CREATE.mine", {"name": "mine", "subjects": ["mine.*"], "allow_direct": True})
    await client.request("mine.1", data, headers=FORGED)
    if "direct" in ways:
        query = json.dumps({"last_by_subj": "mine.1"}).encode()
        await client.publish("$JS.API.DIRECT.GET.mine", query, reply=subject)
    if "pull" in ways:
        await pull(client, "mine", subject, 1)
    await client.flush()


async def pull(client: Client, stream: str, reply: str, messages: int) -> None:
    """Make the broker send the first messages of a stream to a subject."""
    name = uuid7()
    config = {"name": name, "ack_policy": "none"}
    create = f"CONSUMER.CREATE.{stream}.{name}"
    await as_administrator(client)(create, {"stream_name": stream, "config": config})
    query = json.dumps({"batch": messages}).encode()
    await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", query, reply=reply)
    await client.flush()


def as_administrator(client: Client) -> Callable[..., Awaitable[Any]]:
    return StreamView(client.connected_url.geturl() if client.connected_url else "").api


async def copy(nats_url: str, way: str) -> set[int]:
    """Make the broker store copies in the bookstore's stream, and return their sequences.

    They are copies of another stream's event, or (`mirror`) of the older half of this stream. No
    other process may publish at the same time.
    """
    view = StreamView(nats_url)
    before = await view.messages()
    copies = len(before) // 2 if way == "mirror" else 1
    async with await nats_py.connect(nats_url) as attacker:
        if way != "mirror":
            await copy_to(attacker, "bookstore.v1.BookSold.1", (way,))
        else:
            # The broker would refuse copies from the stream itself, because each event names a
            # sequence.
            with suppress(JetStreamError):
                config = {"name": "copy", "mirror": {"name": STREAM}, "allow_direct": True}
                await view.api("STREAM.CREATE.copy", config)
            await eventually(lambda: holds(StreamView(nats_url, "copy"), before[-1].sequence))
            await pull(attacker, "copy", "bookstore.v1.BookSold.1", copies)
        await eventually(lambda: holds(view, before[-1].sequence + copies))
    return {message.sequence for message in (await view.messages())[len(before) :]}


async def holds(view: StreamView, last_sequence: int) -> bool:
    return (await view.messages())[-1].sequence >= last_sequence


@pytest.mark.parametrize("way", ["direct", "pull", "mirror"])
async def test_a_copy_in_a_services_stream_is_neither_handled_nor_the_streams_end(
    nats: NatsServer, new_database: Callable[[str], str], way: str
) -> None:
    books = Node("books", new_database("books"), nats.url, router=accountant())
    view = StreamView(nats.url)
    with capture_logs() as logs:
        async with Shop(new_database("shop")) as shop, books:
            relay = shop.start_relay(nats.url)
            await shop.sell(range(20))
            await has_taken(books, 20)
            await shop.sent()
            copies = await copy(nats.url, way)
            await shop.sell(range(20, 40))
            await has_taken(books, 40)
            await shop.sent()
            await relay.stop()
            copies |= await copy(nats.url, way)
            shop.start_relay(nats.url)
            await shop.sell(range(40, 60))
            await has_taken(books, 60)
            await books.settled()
            assert in_order(await taken_ids(books), shop.published)
            assert await shop.database.read(lambda tx: outbox.types(tx.session)) == {SOLD}
    # The copies are in the stream with all headers of a relay, and are ignored.
    messages = await view.messages()
    assert all(event_headers.RANK in m.headers for m in messages)
    own = [
        event_headers.integer(m.headers, event_headers.RANK)
        for m in messages
        if m.sequence not in copies
    ]
    assert own == list(range(1, 61))
    said = {line["event"] for line in logs if line["log_level"] in ("warning", "error")}
    assert said <= {"messages not published by a relay; skipping them"}


async def test_the_broker_refuses_a_copy_of_an_event_from_its_own_stream(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        # A single event is published in another way than a batch.
        for numbers in (range(1), range(1, 20)):
            await shop.sell(numbers)
            await shop.sent()
        async with await nats_py.connect(nats.url) as attacker:
            heard = await attacker.subscribe("bookstore.>")
            await pull(attacker, STREAM, "bookstore.v1.BookSold.1", 20)
            for _ in range(20):
                await heard.next_msg(timeout=20)
        await shop.sell(range(20, 40))
        await shop.sent()
        assert await StreamView(nats.url).ranks() == list(range(1, 41))


@pytest.mark.parametrize("way", ["direct", "mirror"])
async def test_copies_above_the_last_events_hide_none_of_them(
    nats: NatsServer, new_database: Callable[[str], str], way: str
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        relay = shop.start_relay(nats.url)
        async with Node("books", url, nats.url, router=accountant()) as books:
            await shop.sell(range(40))
            await has_taken(books, 40)
        await shop.sell(range(40, 80))
        await shop.sent()
        await relay.stop()
        await copy(nats.url, way)
        async with (
            Node("books", url, nats.url, router=accountant()) as books,
            Node("oldest", new_database("oldest"), nats.url, router=accountant()) as oldest,
        ):
            for node in (books, oldest):
                await has_taken(node, 80)
                assert in_order(await taken_ids(node), shop.published)


@pytest.mark.parametrize("way", ["direct", "mirror"])
async def test_a_consumer_that_begins_among_copies_misses_no_number(
    nats: NatsServer, new_database: Callable[[str], str], way: str
) -> None:
    async with Shop(new_database("shop")) as shop:
        relay = shop.start_relay(nats.url)
        before = await shop.sell(range(40))
        others = [n for n in range(40, 120) if lane_of(f"book-{n % 40}") != 1]
        kept = await shop.publish(*map(sold, others[:40]))
        await shop.sent()
        await relay.stop()
        await copy(nats.url, way)
        newest = Node("newest", new_database("newest"), nats.url, router=beginning("newest"))
        async with newest:
            await has_position(newest)
            # The first events are removed, so that one subject has nothing but copies.
            await StreamView(nats.url).api(f"STREAM.PURGE.{STREAM}", {"seq": len(before) + 1})
            oldest = Node("oldest", new_database("oldest"), nats.url, router=beginning("oldest"))
            async with oldest:
                await has_position(oldest)
                shop.start_relay(nats.url)
                after = await shop.sell(range(80, 160))
                for node, expected in ((newest, after), (oldest, kept + after)):
                    await has_taken(node, len(expected))
                    assert (await node.path.ledger()).stopped == ()
                    assert in_order(await taken_ids(node), expected)


def beginning(start: Start) -> EventRouter:
    events = EventRouter()

    @events.on(BookSold, start=start)
    def sold(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    return events


async def has_position(node: Node) -> None:
    async def found() -> bool:
        return await position_of(node, "bookstore.v1.BookSold.1") is not None

    await eventually(found)


async def test_a_copy_announces_no_member_and_is_not_a_broadcast(
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
            async with await nats_py.connect(nats.url) as attacker:
                await pull(attacker, STREAM, "bookstore.v1.BookSold.1", 1)
            await shop.publish(sold(8))
            await has_taken(books, 2)
        assert heard == ["7", "8"]
        assert await has_all_lanes()
        # A later member reads the stored announcements.
        newcomer = Node("books", books.url, nats.url, router=accountant(), settings=settings)
        async with newcomer:

            async def has_half() -> bool:
                assert newcomer.path.members
                return len(newcomer.path.members.lanes) == LANES // 2

            await eventually(has_half)
