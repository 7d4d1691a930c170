"""The memory of a member is bounded in bytes, for any number and size of events."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest
from bookshop import Node, TestSettings, accountant
from reading import has_taken, taken_ids
from relaying import STREAM, Shop, StreamView, in_order

from bookstore.v1 import BookSold
from chassis.events.consumer import read_loop
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.committer import Committer
from chassis.events.consumer.deliveries import Deliveries
from chassis.events.consumer.position import Position
from chassis.events.jetstream.delivery import Delivery
from localservers import NatsServer

SMALL = TestSettings(event_max_bytes=100_000)


class Held:
    """The bytes of events that were delivered and are not committed yet: now, and at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = self.most_in_commit = 0
        add, commit = Deliveries.add, Committer.commit

        def delivered(deliveries: Deliveries, message: Delivery) -> None:
            self.now += len(message.data)
            self.most = max(self.most, self.now)
            add(deliveries, message)

        async def commit_counted(
            committer: Committer, arrivals: list[Arrival], positions: Mapping[str, Position]
        ) -> AsyncIterator[list[Arrival]]:
            size = sum(len(arrival.data) for arrival in arrivals)
            self.most_in_commit = max(self.most_in_commit, size)
            async for committed in commit(committer, arrivals, positions):
                yield committed
            self.now -= size

        monkeypatch.setattr(Deliveries, "add", delivered)
        monkeypatch.setattr(Committer, "commit", commit_counted)


def large(sizes: Sequence[int]) -> list[BookSold]:
    return [
        BookSold(book_id=f"book-{number % 7}", customer_id="x" * size)
        for number, size in enumerate(sizes)
    ]


async def test_a_backlog_of_large_events_is_not_held_at_once(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 1_000_000
    monkeypatch.setattr(read_loop, "PULL_BYTES", limit)
    async with Shop(new_database("shop"), settings=SMALL) as shop:
        shop.start_relay(nats.url)
        for _ in range(10):
            await shop.publish(*large([90_000] * 20 + [10] * 20))
        await shop.sent()
        held = Held(monkeypatch)
        async with Node(
            "books", new_database("books"), nats.url, router=accountant(), settings=SMALL
        ) as books:
            await has_taken(books, 400)
            assert in_order(await taken_ids(books), shop.published)
        assert held.most_in_commit < limit + SMALL.event_max_bytes
        assert held.most < 4 * limit


async def test_an_event_larger_than_a_whole_request_is_handled_too(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The producer allows larger events than this service."""
    monkeypatch.setattr(read_loop, "PULL_BYTES", 1000)
    modest = TestSettings(event_max_bytes=1000)
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.publish(*large([10, 10, 50_000, 10, 50_000, 10]))
        await shop.sent()
        async with Node(
            "books", new_database("books"), nats.url, router=accountant(), settings=modest
        ) as books:
            await has_taken(books, 6)
            await shop.publish(*large([100_000] * 3))
            await has_taken(books, 9)
            assert in_order(await taken_ids(books), shop.published)
            consumers = await StreamView(nats.url).api(f"CONSUMER.LIST.{STREAM}")
            assert consumers["total"] == 1
