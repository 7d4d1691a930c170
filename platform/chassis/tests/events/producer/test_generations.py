"""A producer's counters may start again, under another generation.

Numbers are compared only between generations of one lineage; no clock tells which came first.
"""

import contextlib
from collections.abc import Callable

import pytest
from backup import erase
from bookshop import Node, accountant, sold, write_down
from fake_producer import FakeProducer
from reading import has_taken, is_stopped, remove, taken_ids
from relaying import Shop, StreamView, in_order

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.events.producer import counters
from chassis.events.wire import event_headers
from chassis.events.wire.lanes import lane_of
from localservers import NatsServer

# UUIDs of a host whose clock is years behind, and of one whose clock is years ahead.
CLOCK_BEHIND = "00000001-0000-7000-8000-000000000000"
CLOCK_AHEAD = "f0000001-0000-7000-8000-000000000000"


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "started later"])
@pytest.mark.parametrize("generation", [CLOCK_BEHIND, CLOCK_AHEAD], ids=["behind", "ahead"])
async def test_numbers_that_start_again_stop_the_lanes_whatever_the_producers_clock(
    is_running: bool,
    generation: str,
    nats: NatsServer,
    new_database: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = new_database("books")
    async with contextlib.AsyncExitStack() as stack:
        books = Node("books", url, nats.url, router=accountant())
        await stack.enter_async_context(books)
        async with Shop(new_database("shop")) as shop:
            shop.start_relay(nats.url)
            await shop.sell(range(80))
            await shop.sent()
            await books.settled()
            handled = await taken_ids(books)
        if not is_running:
            await books.stop()
        # Both the stream and the producer's database are lost.
        await StreamView(nats.url).api("STREAM.DELETE.bookstore")
        monkeypatch.setattr(counters, "uuid7", lambda: generation)
        async with Shop(new_database("shop_recreated")) as shop:
            shop.start_relay(nats.url)
            new = await shop.sell(range(5))
            await shop.sent()
            if not is_running:
                books = Node("books", url, nats.url, router=accountant())
                await stack.enter_async_context(books)
            lanes = {lane_of(e.partition_key or "") for e in new}
            said = await is_stopped(books, len(lanes))
            assert all(f"number 1 is of generation {generation}" in line for line in said)
            assert await taken_ids(books) == handled
            # No new event is handled, whatever its number.
            assert (await books.path.ledger()).lag == 5


@pytest.mark.dialect
@pytest.mark.parametrize("generation", [CLOCK_BEHIND, CLOCK_AHEAD], ids=["behind", "ahead"])
async def test_the_next_number_under_an_unrelated_generation_stops_its_lane(
    generation: str, nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    """Events of the other generation may have been lost with another stream."""
    books = Node("books", new_database("books"), nats.url, router=accountant())
    async with books, FakeProducer(nats.url) as producer:
        published = [await producer.publish(sold(n, keys=1)) for n in range(5)]
        await has_taken(books, 5)
        await producer.publish(sold(5, keys=1), headers={event_headers.GENERATION: generation})
        (said,) = await is_stopped(books)
        assert f"number 6 is of generation {generation}" in said
        assert await taken_ids(books) == [e.id for e in published]


async def test_events_of_earlier_generations_of_the_lineage_are_dropped_when_seen_again(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        async with Node("books", url, nats.url, router=accountant()) as books:
            for generation in range(3):
                if generation:
                    erase(shop.url)
                await shop.sell(range(40))
                await shop.sent()
                await has_taken(books, 40 * (generation + 1))
        generations = [
            event_headers.generation(m.headers) for m in await StreamView(nats.url).messages()
        ]
        assert len(set(generations)) == 3
        # The messages of all positions are removed, so that the reader begins at the oldest.
        last = {p.partition_key: p for p in shop.published}
        for event in last.values():
            await remove(StreamView(nats.url), event.id)
        async with Node("books", url, nats.url, router=accountant()) as books:
            await shop.sell(range(40))
            await has_taken(books, 160)
            await books.settled()
            assert in_order(await taken_ids(books), shop.published)
            assert (await books.path.ledger()).stopped == ()


async def test_a_service_that_begins_at_the_newest_knows_the_earlier_generations(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        for generation in range(2):
            if generation:
                erase(shop.url)
            await shop.publish(BookReturned(book_id="book-1"))
            await shop.sell(range(40))
            await shop.sent()
        before = len(shop.published)
        events = EventRouter()

        @events.on(BookSold, start="newest")
        def record_sale(book: BookSold, tx: Transaction, event: EventContext) -> None:
            write_down(tx, event)

        async with Node("books", url, nats.url, router=events) as books:
            await books.settled()
            # The message of a position is removed, so that the whole stream is read again.
            await remove(StreamView(nats.url), shop.published[-1].id)
        async with Node("books", url, nats.url, router=events) as books:
            new = await shop.sell(range(40))
            await has_taken(books, len(new))
            assert in_order(await taken_ids(books), shop.published[before:])
            assert (await books.path.ledger()).stopped == ()
