"""The gauges of a service's events, also while the broker or the database is unavailable."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, accountant, eventually, sold
from fake_producer import FakeProducer
from prometheus_client import REGISTRY
from reading import has_taken
from relaying import Shop, StreamView

from bookstore.v1 import BookSold
from chassis import EventRouter, Reject
from chassis.errors import Unavailable
from chassis.events import gauges
from chassis.events.consumer import backlog
from chassis.events.consumer.lag import LagUnknown
from chassis.events.waiting import end
from chassis.events.wire import event_headers
from chassis.events.wire.lanes import LANES
from chassis.rpc.ledger import ledger_service
from chassis.telemetry import metrics
from localservers import NatsServer
from slipway.v1 import GetEventLedgerRequest


def told() -> dict[str, float | None]:
    """Return the gauges of a scrape, those of the outbox separately."""
    return {
        "lag": REGISTRY.get_sample_value("event_lag"),
        "lanes": REGISTRY.get_sample_value("event_lanes"),
        "tasks": REGISTRY.get_sample_value("event_tasks", {"state": "waiting"}),
        "dead letters": REGISTRY.get_sample_value("event_dead_letters"),
    }


def oldest() -> float:
    return REGISTRY.get_sample_value("outbox_oldest_seconds") or 0


def counted() -> dict[str, float]:
    """Return the events that failed in this process, and those that became dead letters."""
    sold = {"type": "bookstore.v1.BookSold"}
    dead = {**sold, "to": "dead_letters"}
    return {
        "failed": REGISTRY.get_sample_value("events_failed_at_first_total", sold) or 0,
        "dead": REGISTRY.get_sample_value("events_given_up_total", dead) or 0,
    }


async def become(**values: float | None) -> None:
    expected = {name.replace("_", " "): value for name, value in values.items()}

    async def holds() -> bool:
        assert told() == expected
        return True

    await eventually(holds)


async def test_lag_lanes_tasks_dead_letters_and_the_oldest_unsent_event_are_gauges(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "MEASURE_SECONDS", 0.05)
    monkeypatch.setattr(metrics.MeasuredGauge, "FRESH_SECONDS", 3600)
    may_go = threading.Event()
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold) -> None:
        may_go.wait(60)
        if book.price == 1:
            raise Reject("not for one")
        if book.price == 2:
            raise ValueError("not for two")

    url = new_database("shop")
    async with Shop(url) as shop:
        shop.start_relay(nats.url)
        await shop.publish(*(BookSold(book_id=f"b-{n}", price=n) for n in range(5)))
        await shop.sent()
    settings = TestSettings(task_backoff_seconds=600)
    node = Node("bookstore", url, nats.url, router=router, publishes=[BookSold], settings=settings)
    async with node:
        await become(lag=5, lanes=LANES, tasks=0, dead_letters=0)
        before = counted()
        may_go.set()
        await become(lag=0, lanes=LANES, tasks=1, dead_letters=1)
        assert {name: value - before[name] for name, value in counted().items()} == {
            "failed": 2,
            "dead": 1,
        }
        assert oldest() == 0
        assert REGISTRY.get_sample_value("event_streams") == 1

        nats.stop()
        since = time.time()
        await node.publish(BookSold(book_id="b-0"))

        async def waits() -> bool:
            return oldest() > 0

        await eventually(waits)
        assert oldest() <= time.time() - since
        # A gauge that cannot be measured has no sample: neither 0 nor its last value.
        await become(lag=None, lanes=None, tasks=1, dead_letters=1)
        nats.start()
        await become(lag=0, lanes=LANES, tasks=1, dead_letters=1)

        async def sent() -> bool:
            return oldest() == 0

        await eventually(sent)


async def test_a_gauge_that_cannot_be_measured_has_no_sample_and_keeps_its_time(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "MEASURE_SECONDS", 0.05)
    monkeypatch.setattr(metrics.MeasuredGauge, "FRESH_SECONDS", 3600)
    node = Node("books", new_database("books"), nats.url, router=accountant())
    async with FakeProducer(nats.url) as producer, node:
        await producer.publish(sold(0))
        await become(lag=0, lanes=LANES, tasks=0, dead_letters=0)
        assert REGISTRY.get_sample_value("outbox_oldest_seconds") == 0

        def broken(*_: object) -> None:
            raise OSError("no database")

        before = time.time()
        monkeypatch.setattr(node.database, "read", broken)
        await become(lag=None, lanes=LANES, tasks=None, dead_letters=None)
        assert REGISTRY.get_sample_value("outbox_oldest_seconds") is None
        for gauge in ("event_lag", "event_tasks", "event_dead_letters", "outbox_oldest_seconds"):
            measured = {"gauge": gauge}
            at = REGISTRY.get_sample_value("event_measured_timestamp_seconds", measured)
            assert at
            assert at <= before + 1
        monkeypatch.undo()


def test_a_gauge_that_is_no_longer_measured_has_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics.EVENT_LAG.set(3)
    assert told()["lag"] == 3
    monkeypatch.setattr(metrics.MeasuredGauge, "FRESH_SECONDS", -1)
    assert told()["lag"] is None


async def test_the_lag_of_a_lost_stream_is_unknown_and_of_one_that_never_existed_is_0(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Node("books", new_database("books"), nats.url, router=accountant()) as books:
        await eventually(books.path.broker.connected.wait)
        assert (await books.path.ledger()).lag == 0
        async with FakeProducer(nats.url) as producer:
            await producer.publish(sold(0))
            await has_taken(books, 1)
            await StreamView(nats.url).api("STREAM.DELETE.bookstore")
            with pytest.raises(LagUnknown, match="'bookstore' is missing"):
                await books.path.ledger()


async def test_a_ledger_that_cannot_count_the_lag_is_unavailable(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Node("books", new_database("books"), nats.url, router=accountant()) as books:
        _, (method,) = ledger_service(books.path.ledger)
        async with FakeProducer(nats.url) as producer:
            await producer.publish(sold(0))
            await has_taken(books, 1)
            await StreamView(nats.url).api("STREAM.DELETE.bookstore")
            with pytest.raises(Unavailable, match="cannot be counted"):
                await method.call(GetEventLedgerRequest(), None)


async def test_messages_of_other_publishers_behind_events_hide_no_lag(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node("books", new_database("books"), nats.url, router=accountant())
    async with FakeProducer(nats.url) as producer:
        await producer.publish(sold(0))
        async with node:
            await has_taken(node, 1)
        for _ in range(3):
            await producer.publish(sold(0))
        for _ in range(5):
            await producer.publish(sold(0), headers={event_headers.NUMBER: None}, counted=False)
        idle = Node("books", node.url, nats.url, router=accountant())
        try:
            running = asyncio.create_task(idle.path.broker.run())
            await idle.path.broker.connected.wait()
            assert (await idle.path.ledger()).lag == 3
            monkeypatch.setattr(backlog, "MAX_UNNUMBERED", 2)
            await producer.publish(sold(0), headers={event_headers.NUMBER: None}, counted=False)
            with pytest.raises(LagUnknown, match="are not events"):
                await idle.path.ledger()
        finally:
            await end([running])
            await idle.close()
