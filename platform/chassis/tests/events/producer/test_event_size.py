"""Events have a maximum size, and so have batches."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from bookshop import TestSettings
from relaying import Shop, StreamView, in_order

from bookstore.v1 import BookReturned
from chassis.events.jetstream.ordered_batch import BatchPublisher, Message, Stored
from chassis.events.producer.counters import Counters, number_new
from chassis.events.producer.event_factory import EventTooLarge
from chassis.events.producer.outbox import NumberedEvent
from localservers import NatsServer


def large(number: int, size: int) -> BookReturned:
    return BookReturned(book_id=f"book-{number % 7}", reason="x" * size)


async def test_an_event_too_large_is_refused_where_it_is_published(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop"), settings=TestSettings(event_max_bytes=2000)) as shop:
        with pytest.raises(EventTooLarge, match="APP_EVENT_MAX_BYTES"):
            await shop.publish(large(1, 10), large(1, 2000))
        assert await shop.unsent() == 0
        await shop.publish(large(1, 500))
        assert await shop.unsent() == 1


async def test_the_largest_event_the_default_allows_passes_the_default_broker(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        size = shop.settings.event_max_bytes
        while True:
            try:
                await shop.publish(large(1, size), large(2, size))
            except EventTooLarge:
                size -= 50
            else:
                break
        await shop.sent()
        assert await StreamView(nats.url).ranks() == [1, 2]


@pytest.fixture
def small_broker(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "small", config="max_payload: 65536\n") as server:
        yield server


async def test_a_broker_that_would_refuse_the_largest_event_is_refused_at_start(
    small_broker: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        await shop.publish(large(1, 10))
        await shop.start_relay(small_broker.url).ended()
        (error,) = shop.fatal
        assert "max_payload" in str(error)
        assert "65536" in str(error)
        assert "APP_EVENT_MAX_BYTES" in str(error)
        shop.fatal.clear()
        shop.start_relay(small_broker.url, settings=TestSettings(event_max_bytes=60_000))
        await shop.publish(large(1, 59_000))
        await shop.sent()
        assert not shop.fatal


async def test_ten_megabytes_of_events_go_in_several_batches(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    read: list[int] = []
    publish, number = BatchPublisher.publish, number_new

    async def measured(
        publisher: BatchPublisher, messages: Sequence[Message], expected: int
    ) -> Stored:
        sizes.append(sum(len(data) for _, data, _ in messages))
        return await publish(publisher, messages, expected)

    def measured_read(*arguments: Any) -> tuple[Counters, list[NumberedEvent]]:
        counters, rows = number(*arguments)
        read.append(sum(len(row.data) for row in rows))
        return counters, rows

    monkeypatch.setattr(BatchPublisher, "publish", measured)
    monkeypatch.setattr("chassis.events.producer.draining.number_new", measured_read)
    async with Shop(new_database("shop")) as shop:
        await shop.publish(*(large(n, 200_000) for n in range(50)))
        shop.start_relay(nats.url)
        await shop.sent()
        assert await StreamView(nats.url).ranks() == list(range(1, 51))
        assert in_order(await StreamView(nats.url).ids(), shop.published)
    assert sum(sizes) > 10_000_000
    assert max(sizes) <= 4 * 1024 * 1024
    assert max(read) <= 4 * 1024 * 1024, "more is read than can be sent"
