"""A canary takes its weight's share of the events, sticky by key and in order, while it changes."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from bookshop import Node, TestSettings, accountant, eventually, write_down
from reading import has_taken, taken_ids
from relaying import Shop, in_order
from replicas import Replicas

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transact
from chassis.events.wire.lanes import LANES, lane_of
from localservers import NatsServer


def lanes_of(node: Node) -> frozenset[int]:
    return frozenset(node.path.readers[0].lanes)


async def share(canary: Node, stable: Node, lanes: int) -> None:
    """Wait until the canary reads this number of lanes, and the stable version all others."""

    async def is_shared() -> bool:
        own, others = lanes_of(canary), lanes_of(stable)
        return len(own) == lanes and own | others == set(range(LANES)) and not own & others

    await eventually(is_shared)


def async_accountant(member: str) -> EventRouter:
    """Return an `async def` handler that records each event in the journal: each is a task."""
    events = EventRouter()

    @events.on(BookSold)
    async def sold(book: BookSold, transact: Transact, event: EventContext) -> None:
        await transact(write_down, event, member)

    return events


@pytest.mark.parametrize("handlers", [accountant, async_accountant])
async def test_lanes_follow_the_weight_and_every_key_is_with_one_version_between_changes(
    nats: NatsServer,
    new_database: Callable[[str], str],
    tmp_path: Path,
    handlers: Callable[[str], EventRouter],
) -> None:
    url = new_database("books")
    weight = tmp_path / "weight"
    # On a busy machine a shorter time lets the versions count each other as gone.
    settings = TestSettings(member_ttl_seconds=6)
    weighted = TestSettings(member_ttl_seconds=6, event_weight_file=weight)
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        async with (
            Node(
                "books", url, nats.url, router=handlers("1"), version="1", settings=settings
            ) as stable,
            Node(
                "books", url, nats.url, router=handlers("2"), version="2", settings=weighted
            ) as canary,
        ):
            await share(canary, stable, 0)  # There is no file yet.
            sold = 0
            for percent, lanes in ((10, 2), (50, 10), (100, LANES), (25, 5), (0, 0)):
                weight.write_text(str(percent), encoding="utf-8")
                await share(canary, stable, lanes)
                own = lanes_of(canary)
                taken_before = len(await canary.journal())
                await shop.sell(range(sold, sold + 60))
                sold += 60
                await has_taken(canary, sold)
                for row in (await canary.journal())[taken_before:]:
                    version = "2" if lane_of(row.book_id) in own else "1"
                    assert row.member == version
            assert in_order(await taken_ids(canary), shop.published)


async def test_the_lanes_of_a_canary_that_dies_flow_back(
    nats: NatsServer, new_database: Callable[[str], str], replicas: Replicas, tmp_path: Path
) -> None:
    weight = tmp_path / "weight"
    weight.write_text("50", encoding="utf-8")
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(1))
        async with Node("books", url, nats.url, router=accountant()) as stable:
            settings = {"event_weight_file": str(weight)}
            canary = replicas.start(url, nats.url, "canary", version="2", settings=settings)

            async def reads(lanes: int) -> None:
                async def is_read() -> bool:
                    return len(lanes_of(stable)) == lanes

                await eventually(is_read)

            await reads(LANES // 2)
            canary.send(signal.SIGKILL)
            await reads(LANES)
            await shop.sell(range(1, 80))
            await has_taken(stable, 80)
            assert in_order(await taken_ids(stable), shop.published)
