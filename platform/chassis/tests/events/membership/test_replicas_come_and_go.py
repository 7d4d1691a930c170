"""Replicas start, leave in order and die while events arrive, and none is lost or doubled."""

import signal
from collections.abc import Awaitable, Callable
from typing import Any

from bookshop import Node, eventually
from reading import taken_ids
from relaying import Shop, in_order
from replicas import Replica, Replicas

from localservers import NatsServer


async def test_nothing_is_lost_doubled_or_out_of_order(
    nats: NatsServer, new_database: Callable[[str], str], replicas: Replicas
) -> None:
    url = new_database("books")
    running: dict[str, Replica] = {}
    # A node without handlers reads nothing.
    looks = Node("books", url, nats.url)

    def start(member: str, **options: Any) -> None:
        settings = {"batch_max_events": 10}
        running[member] = replicas.start(url, nats.url, member, settings=settings, **options)

    async with Shop(new_database("shop")) as shop, looks:
        shop.start_relay(nats.url)

        async def sell_until(holds: Callable[[], Awaitable[bool]]) -> None:
            async def selling() -> bool:
                sold = len(shop.published)
                if sold - len(await looks.journal()) < 60:
                    await shop.sell(range(sold, sold + 10))
                return await holds()

            await eventually(selling)

        async def all_take() -> bool:
            return {e.member for e in await looks.journal()} >= running.keys()

        async def dead() -> bool:
            return not running["dying"].alive

        start("first")
        await sell_until(all_take)
        # The replica has handled some events when it dies in the middle of the next one.
        start("dying", die_at=30)
        start("second", delay=0.001)
        await sell_until(dead)
        await sell_until(all_take)
        running["first"].send(signal.SIGTERM)
        start("third")
        await sell_until(all_take)
        await running["first"].is_gone()
        running["second"].send(signal.SIGKILL)
        start("fourth")
        await sell_until(all_take)
        running["third"].send(signal.SIGTERM)

        async def all_taken() -> bool:
            return len(await looks.journal()) >= len(shop.published)

        await eventually(all_taken)
        assert in_order(await taken_ids(looks), shop.published)
