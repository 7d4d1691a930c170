"""Replicas come, go in order, and die under a stream of events."""

import signal
from collections.abc import Callable

from bookshop import Node
from reading import has_taken
from relaying import Shop, in_order
from replicas import Replica, Replicas

from chassis.testing import NatsServer


async def test_nothing_is_lost_doubled_or_out_of_order(
    nats: NatsServer, new_database: Callable[[str], str], replicas: Replicas
) -> None:
    url = new_database("books")
    count = 0

    async def sell(shop: Shop, events: int = 60) -> None:
        nonlocal count
        await shop.sell(range(count, count + events), at_once=20)
        count += events

    def start(member: str, **options: float) -> None:
        running[member] = replicas.start(url, nats.url, member, **options)

    running: dict[str, Replica] = {}
    looks = Node("books", url, nats.url)  # it has no handlers and reads nothing
    async with Shop(new_database("shop")) as shop, looks:
        shop.start_relay(nats.url)
        start("first")
        await sell(shop)
        await has_taken(looks, 20)
        start("dying", die_at=30)
        start("second", delay=0.001)
        await sell(shop)
        await has_taken(looks, 80)
        running["first"].send(signal.SIGTERM)
        await sell(shop)
        start("third")
        await running["first"].is_gone()
        await sell(shop)
        running["second"].send(signal.SIGKILL)
        start("fourth")
        await sell(shop)
        running["third"].send(signal.SIGTERM)
        await has_taken(looks, count)
        journal = await looks.journal()
        assert in_order([e.event_id for e in journal], shop.published)
        assert len({e.member for e in journal}) > 1
