"""The first positions of a service in a stream that was lost and recreated."""

from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, eventually, sold, write_down
from reading import has_found_no_stream, has_taken, position_of, subject_of_key, taken_ids
from relaying import STREAM, Shop, StreamView, in_order

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.events.handlers.router import Start
from localservers import NatsServer

AN_HOUR = TestSettings(stream_max_age_seconds=3600)


def of_sold(start: Start = "oldest") -> EventRouter:
    events = EventRouter()

    @events.on(BookSold, start=start)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    return events


@pytest.mark.parametrize("there", [True, False])
async def test_numbers_that_continue_in_a_recreated_stream_are_not_a_gap_for_a_new_service(
    there: bool, nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    view = StreamView(nats.url)
    async with Shop(new_database("shop"), settings=AN_HOUR) as shop:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(5))
        await shop.publish(*(sold(0) for _ in range(5)))
        await shop.sent()
        assert in_order(await view.ids(), shop.published)
        await shop.marked(10)
        await relay.stop()
        await shop.pass_time(2 * AN_HOUR.stream_max_age_seconds)
        nats.kill()
        nats.erase()
        nats.start()
        if there:
            shop.start_relay(nats.url)
            await is_there(view)
        async with Node("books", new_database("books"), nats.url, router=of_sold()) as books:
            if there:
                await has_positions(books)
            else:
                await has_found_no_stream(books)
                shop.start_relay(nats.url)
                await has_positions(books)
            # No event of book 20 and above was sent before.
            after = await shop.sell(range(30))
            await has_taken(books, len(after))
            assert in_order(await taken_ids(books), after)
            assert (await books.path.ledger()).stopped == ()


async def send_and_erase(shop: Shop, nats: NatsServer) -> None:
    """Send 120 events and erase the broker's disk; no relay runs then."""
    relay = shop.start_relay(nats.url)
    await shop.sell(range(120))
    await shop.sent()
    await relay.stop()
    nats.kill()
    nats.erase()
    nats.start()


async def test_a_new_service_reads_events_that_are_sent_again_from_the_oldest_on(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    """This holds for any number of events that the stream has when the service first reads it."""
    async with Shop(new_database("shop")) as shop:
        await send_and_erase(shop, nats)
        async with Node("books", new_database("books"), nats.url, router=of_sold()) as books:
            await has_found_no_stream(books)
            shop.start_relay(nats.url, batch_events=4)
            await has_taken(books, 120)
            assert in_order(await taken_ids(books), shop.published)
            assert (await books.path.ledger()).stopped == ()


async def test_events_that_are_sent_again_are_not_new_to_a_service_that_begins_at_the_newest(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    view = StreamView(nats.url)
    async with Shop(new_database("shop")) as shop:
        await send_and_erase(shop, nats)
        second = shop.start_relay(nats.url, batch_events=4)

        async def begun() -> bool:
            return len(await view.ids()) > 3

        await eventually(begun)
        await second.stop()
        async with Node("books", new_database("books"), nats.url, router=of_sold("newest")) as b:
            # The stream is probably still being refilled.
            await has_looked(b)
            shop.start_relay(nats.url)
            await has_positions(b)
            after = await shop.sell(range(120, 160))
            await shop.sent()
            await b.settled()
            assert in_order(await taken_ids(b), after)


async def has_looked(node: Node) -> None:
    """Wait until a node has found that the stream is being refilled, or its first positions."""
    (reader,) = node.path.readers

    async def holds() -> bool:
        found = await position_of(node, subject_of_key("book-0")) is not None
        return reader.stream_was_missing or found

    await eventually(holds)


async def is_there(view: StreamView) -> None:
    async def holds() -> bool:
        return bool(await view.api(f"STREAM.INFO.{STREAM}"))

    await eventually(holds)


async def has_positions(node: Node) -> None:
    async def holds() -> bool:
        return await position_of(node, subject_of_key("book-0")) is not None

    await eventually(holds)
