"""A missing event or an incomparable number stops its lane and is reported; others continue."""

import contextlib
from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, accountant, eventually, sold
from fake_producer import FakeProducer
from prometheus_client import REGISTRY
from reading import (
    events_counted,
    has_taken,
    is_stopped,
    remove,
    returned_by,
    subject_of_key,
    taken_ids,
)
from relaying import Shop, StreamView, in_order
from structlog.testing import capture_logs

from chassis.events import gauges
from chassis.events.wire import event_headers
from chassis.events.wire.lanes import lane_of
from localservers import NatsServer

TYPE = "bookstore.v1.BookSold"


def on_lane_of(key: str, event_key: str | None) -> bool:
    return lane_of(event_key or "") == lane_of(key)


async def test_a_deleted_message_stops_its_lane_until_it_is_there_again(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "MEASURE_SECONDS", 0.1)
    lost_before = events_counted("events_lost_total")
    view = StreamView(nats.url)
    books = Node("books", new_database("books"), nats.url, router=accountant())
    async with Shop(new_database("shop")) as shop, contextlib.AsyncExitStack() as stack:
        shop.start_relay(nats.url)
        before = await shop.publish(*map(returned_by, range(40)), *map(sold, range(40)))
        missing, after = (await shop.publish(sold(0)))[0], await shop.sell(range(40, 80))
        after += await shop.publish(*map(returned_by, range(40, 80)))
        await shop.sent()
        await remove(view, missing.id)
        with capture_logs() as logs:
            await stack.enter_async_context(books)
            (said,) = await is_stopped(books)
        subject = subject_of_key("book-0")
        number = 1 + sum(on_lane_of("book-0", e.partition_key) for e in before[40:])
        assert said.startswith(f"{subject}: 1 event is missing: number {number}")
        (line,) = [line for line in logs if line["event"].startswith("lane stopped")]
        assert (line["log_level"], line["lane"]) == ("error", lane_of("book-0"))
        # All events of the other lanes are handled, and those of this lane up to the gap.
        others = [e for e in before + after if not on_lane_of("book-0", e.partition_key)]
        held = [e for e in before if on_lane_of("book-0", e.partition_key)]
        await has_taken(books, len(others) + len(held))
        assert in_order(await taken_ids(books), [*held, *others])

        async def is_measured() -> bool:
            lag = REGISTRY.get_sample_value("event_lag") or 0
            return lag >= 2 and REGISTRY.get_sample_value("event_lanes_stopped") == 1

        await eventually(is_measured)
        assert events_counted("events_lost_total") - lost_before == 1
        # The relay recreates the stream from the outbox, with all events.
        await view.api("STREAM.DELETE.bookstore")
        await has_taken(books, len(shop.published))
        assert in_order(await taken_ids(books), shop.published)
        assert (await books.path.ledger()).stopped == ()
        assert events_counted("events_lost_total") - lost_before == 1


async def test_a_stopped_lane_is_checked_again_without_reading_all_events_again(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    books = Node("books", new_database("books"), nats.url, router=accountant())
    async with books, FakeProducer(nats.url) as producer:
        # The position of this lane is the oldest, and the event after the gap is the newest.
        await producer.publish(sold(0))
        others = [n for n in range(200) if not on_lane_of("book-0", sold(n).book_id)]
        for number in others:
            await producer.publish(sold(number))
        await has_taken(books, 1 + len(others))
        missing = {event_headers.NUMBER: event_headers.number_value(7)}
        await producer.publish(sold(0), headers=missing)
        await is_stopped(books)
        (stop,) = books.path.readers[0].stopped_lanes.all
        before = events_counted("events_seen_again_total")

        async def is_tried_again() -> bool:
            (now,) = books.path.readers[0].stopped_lanes.all
            return now.retry_at > stop.retry_at

        await eventually(is_tried_again)
        assert events_counted("events_seen_again_total") == before


async def test_the_unread_events_of_a_stopped_lane_count_as_lag(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    settings = TestSettings(stopped_retry_seconds=300, net_seconds=0.05)
    books = Node("books", new_database("books"), nats.url, router=accountant(), settings=settings)
    async with books, FakeProducer(nats.url) as producer:
        for number in range(40):
            await producer.publish(sold(number))
        await has_taken(books, 40)
        taken = sum(on_lane_of("book-0", f"book-{n}") for n in range(40))
        await producer.publish(
            sold(0), headers={event_headers.NUMBER: event_headers.number_value(taken + 10)}
        )
        await is_stopped(books)
        assert await books.path.readers[0].lag() == 10
        assert (await books.path.ledger()).lag == 10
