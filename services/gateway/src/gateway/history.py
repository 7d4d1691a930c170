"""An order's record as a stream: what has happened, then what happens, up to its end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from chassis import Unavailable
from gateway.wakeups import Wakeups
from shop.orders.v1 import (
    ListOrderEventsRequest,
    ListOrderEventsResponse,
    OrderEvent,
    OrdersServiceAsyncStub,
)

__all__ = ["follow", "has_ended"]


def has_ended(page: ListOrderEventsResponse, after: int) -> bool:
    """Whether the order's terminal event is not after that sequence: there is nothing to stream."""
    return 0 < page.terminal_sequence <= after


async def follow(
    orders: OrdersServiceAsyncStub,
    order_id: str,
    page: ListOrderEventsResponse,
    after: int,
    *,
    wakeups: Wakeups,
    poll_seconds: float,
) -> AsyncGenerator[OrderEvent]:
    """The order's events after that sequence, up to and with the terminal one.

    `page` is what orders has answered already. Looks again whenever it is woken, and every
    `poll_seconds` in any case; orders being away for a while is waited out.
    """
    with wakeups.waiting_for(order_id) as news:
        while not has_ended(page, after):
            for event in page.events:
                if event.sequence > after:
                    yield event
                    after = event.sequence
                    if event.terminal:
                        return
            if not page.events:
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), poll_seconds)
            news.clear()
            request = ListOrderEventsRequest(order_id=order_id, after=after)
            try:
                page = await orders.ListOrderEvents(request)
            except Unavailable:
                page = ListOrderEventsResponse()
