"""An order's history as a stream."""

import asyncio
from typing import cast

import pytest
from following import until_followed

from chassis import Unavailable
from gateway.history import follow, has_ended
from gateway.wakeups import Wakeups
from shop.orders.v1 import (
    ListOrderEventsRequest,
    ListOrderEventsResponse,
    OrderEvent,
    OrdersServiceAsyncStub,
)

pytestmark = pytest.mark.unit

LONG = 60.0


class History:
    """A fake of OrdersService with the history of one order, to which a test adds events."""

    def __init__(self) -> None:
        self.events: list[OrderEvent] = []
        self.unavailable = 0

    def add(self, *, terminal: bool = False) -> None:
        self.events.append(OrderEvent(sequence=len(self.events) + 1, terminal=terminal))

    async def ListOrderEvents(self, request: ListOrderEventsRequest) -> ListOrderEventsResponse:
        if self.unavailable:
            self.unavailable -= 1
            raise Unavailable("orders is unavailable")
        return ListOrderEventsResponse(
            events=[event for event in self.events if event.sequence > request.after],
            terminal_sequence=next((e.sequence for e in self.events if e.terminal), 0),
        )


async def collect(
    history: History, wakeups: Wakeups, after: int = 0, poll_seconds: float = LONG
) -> list[int]:
    stub = cast(OrdersServiceAsyncStub, history)
    page = await history.ListOrderEvents(ListOrderEventsRequest(after=after))
    return [
        event.sequence
        async for event in follow(
            stub, "o-1", page, after, wakeups=wakeups, poll_seconds=poll_seconds
        )
    ]


async def test_an_ended_order_is_streamed_from_its_first_to_its_terminal_event() -> None:
    history = History()
    history.add()
    history.add(terminal=True)
    assert await collect(history, Wakeups()) == [1, 2]


async def test_events_after_the_terminal_one_are_not_streamed() -> None:
    history = History()
    history.add()
    history.add(terminal=True)
    history.add()
    assert await collect(history, Wakeups()) == [1, 2]


async def test_a_resumed_stream_continues_after_the_last_received_event() -> None:
    history = History()
    history.add()
    history.add()
    history.add(terminal=True)
    assert await collect(history, Wakeups(), after=1) == [2, 3]


async def test_a_stream_resumed_after_a_future_event_ends_with_the_order() -> None:
    history, wakeups = History(), Wakeups()
    history.add()
    stream = asyncio.create_task(collect(history, wakeups, after=7))
    await until_followed(wakeups, "o-1")
    history.add(terminal=True)
    wakeups.wake("o-1")
    assert await asyncio.wait_for(stream, 30) == []


async def test_an_event_of_its_order_wakes_a_stream() -> None:
    history, wakeups = History(), Wakeups()
    history.add()
    stream = asyncio.create_task(collect(history, wakeups))
    await until_followed(wakeups, "o-1")
    history.add(terminal=True)
    wakeups.wake("o-1")
    assert await asyncio.wait_for(stream, 30) == [1, 2]


def test_an_event_of_another_order_wakes_no_stream() -> None:
    wakeups = Wakeups()
    with wakeups.waiting_for("o-1") as woken:
        wakeups.wake("o-2")
        assert not woken.is_set()
        wakeups.wake("o-1")
        assert woken.is_set()


async def test_a_stream_reads_its_order_again_without_being_woken() -> None:
    history, wakeups = History(), Wakeups()
    history.add()
    stream = asyncio.create_task(collect(history, wakeups, poll_seconds=0.05))
    await until_followed(wakeups, "o-1")
    history.add(terminal=True)
    assert await asyncio.wait_for(stream, 30) == [1, 2]


async def test_a_stream_continues_after_orders_was_unavailable() -> None:
    history, wakeups = History(), Wakeups()
    history.add()
    stream = asyncio.create_task(collect(history, wakeups, poll_seconds=0.01))
    await until_followed(wakeups, "o-1")
    history.unavailable = 3
    history.add(terminal=True)
    assert await asyncio.wait_for(stream, 30) == [1, 2]


async def test_a_closed_stream_no_longer_waits() -> None:
    wakeups = Wakeups()
    history = History()
    history.add()
    stream = asyncio.create_task(collect(history, wakeups))
    await until_followed(wakeups, "o-1")
    assert wakeups.order_ids() == {"o-1"}
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    assert wakeups.order_ids() == set()


def test_nothing_is_left_to_stream_after_the_terminal_event() -> None:
    assert has_ended(ListOrderEventsResponse(terminal_sequence=4), 4)
    assert has_ended(ListOrderEventsResponse(terminal_sequence=4), 9)
    assert not has_ended(ListOrderEventsResponse(terminal_sequence=4), 3)
    assert not has_ended(ListOrderEventsResponse(), 9)
