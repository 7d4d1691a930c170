"""What a service tells of its events by value, while something is away and something has failed."""

import threading
import time
from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, eventually
from prometheus_client import REGISTRY
from relaying import Shop

from bookstore.v1 import BookSold
from chassis import EventRouter, Reject
from chassis.events import path
from chassis.events.lanes import LANES
from chassis.testing import NatsServer


def told() -> dict[str, float | None]:
    """The gauges, as a scrape finds them; the outbox's apart."""
    return {
        "lag": REGISTRY.get_sample_value("event_lag"),
        "lanes": REGISTRY.get_sample_value("event_lanes"),
        "tasks": REGISTRY.get_sample_value("event_tasks", {"state": "waiting"}),
        "dead letters": REGISTRY.get_sample_value("event_dead_letters"),
    }


def oldest() -> float:
    return REGISTRY.get_sample_value("outbox_oldest_seconds") or 0


async def become(**values: float) -> None:
    expected = {name.replace("_", " "): value for name, value in values.items()}

    async def holds() -> bool:
        assert told() == expected
        return True

    await eventually(holds, 60)


async def test_lag_lanes_tasks_dead_letters_and_the_oldest_unsent_event_are_told(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path, "_MEASURE_SECONDS", 0.05)
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
        may_go.set()
        await become(lag=0, lanes=LANES, tasks=1, dead_letters=1)
        assert oldest() == 0

        nats.stop()
        since = time.time()
        await node.publish(BookSold(book_id="b-0"))

        async def waits() -> bool:
            return oldest() > 0

        await eventually(waits, 60)
        assert oldest() <= time.time() - since
        await become(lag=0, lanes=LANES, tasks=1, dead_letters=1)
        nats.start()

        async def sent() -> bool:
            return oldest() == 0

        await eventually(sent, 60)
