"""An order's history as a stream of past and future events, up to the terminal one."""

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
    """Return whether the terminal event is at or before `after`, so that nothing is left."""
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
    """Yield the order's events with a sequence greater than `after`, up to the terminal one.

    `page` is the first answer of orders. Further events are read when `wakeups` wakes the order,
    and every `poll_seconds` in any case. While orders is unavailable, the stream waits.
    """
    with wakeups.waiting_for(order_id) as woken:
        while not has_ended(page, after):
            for event in page.events:
                if event.sequence > after:
                    yield event
                    after = event.sequence
                    if event.terminal:
                        return
            if not page.events:
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), poll_seconds)
            woken.clear()
            request = ListOrderEventsRequest(order_id=order_id, after=after)
            try:
                page = await orders.ListOrderEvents(request)
            except Unavailable:
                page = ListOrderEventsResponse()
