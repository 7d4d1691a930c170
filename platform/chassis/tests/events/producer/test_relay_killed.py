"""A relay killed at any step loses, doubles and reorders nothing."""

from collections.abc import Callable

import pytest
from bookshop import Node, accountant
from relay_process import STEPS
from relaying import Shop, StreamView, in_order, relay_process

from localservers import NatsServer

pytestmark = pytest.mark.dialect


async def test_a_relay_killed_at_each_step_leaves_a_stream_as_if_it_had_never_died(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    books = await Node("books", new_database("books"), nats.url, router=accountant()).start()
    async with Shop(new_database("shop")) as shop:
        await shop.sell(range(100))
        async with relay_process(shop.url, nats.url, *STEPS) as process:
            assert await process.wait() == 0, "a relay was not killed at its step"
        assert await shop.unsent() > 0
        shop.start_relay(nats.url)
        await shop.sent()
        stream = StreamView(nats.url)
        assert await stream.ranks() == list(range(1, 101))
        assert in_order(await stream.ids(), shop.published)
        await books.settled()
        assert in_order([e.event_id for e in await books.journal()], shop.published)
    await books.stop()
