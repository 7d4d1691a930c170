"""Versions that handle different types read the same lanes one after the other, without loss."""

import itertools
from collections.abc import Callable

from bookshop import Node, TestSettings, accountant, eventually, sold, write_down
from reading import has_taken, returned_by, taken_ids
from relaying import Shop, in_order

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.events.wire.lanes import LANES, lane_of
from localservers import NatsServer


def old_version() -> EventRouter:
    events = EventRouter()

    @events.on(BookSold)
    def sold_by(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event, "old")

    return events


async def test_what_a_version_does_not_handle_waits_for_one_that_does(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    settings = TestSettings(member_ttl_seconds=60)

    def old(member: str) -> Node:
        return Node(
            "books",
            url,
            nats.url,
            router=old_version(),
            version="1",
            member=member,
            settings=settings,
        )

    def new(member: str) -> Node:
        return Node(
            "books",
            url,
            nats.url,
            router=accountant("new"),
            version="2",
            member=member,
            settings=settings,
        )

    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)

        async def trade(numbers: range) -> None:
            both = [(sold(number), returned_by(number)) for number in numbers]
            await shop.publish(*itertools.chain(*both))

        async with old("a"):
            await trade(range(40))
            async with new("b") as node:
                # Both versions run: the new one handles returned books in its own lanes.
                await has_share(node)
                own = node.path.readers[0].lanes
                returned = [lane_of(f"book-{n}") for n in range(40)]
                await has_taken(node, 40 + sum(lane in own for lane in returned))
                await trade(range(40, 60))
            # The old version runs alone again and continues with the type that it handles.
            await trade(range(60, 80))
            async with old("c") as node:
                await has_taken(node, 80)
        async with new("d") as node:
            await has_taken(node, 160)
            await node.settled()
            journal = await node.journal()
            for kind in ("BookSold", "BookReturned"):
                type = f"bookstore.v1.{kind}"
                published = [e for e in shop.published if e.type == type]
                assert in_order([e.event_id for e in journal if e.type == type], published)
            assert len(await taken_ids(node)) == 160


async def has_share(node: Node) -> None:
    async def holds() -> bool:
        return len(node.path.readers[0].lanes) == LANES // 2

    await eventually(holds)
