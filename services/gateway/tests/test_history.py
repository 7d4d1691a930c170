"""An order's record as a stream."""

import asyncio
from typing import cast

from chassis import Unavailable
from gateway.history import follow, has_ended
from gateway.wakeups import Wakeups
from shop.orders.v1 import (
    ListOrderEventsRequest,
    ListOrderEventsResponse,
    OrderEvent,
    OrdersServiceAsyncStub,
)

LONG = 60.0


class Record:
    """Answers like orders, from a list that a test adds to."""

    def __init__(self) -> None:
        self.events: list[OrderEvent] = []
        self.away = 0
        self.asked = asyncio.Event()

    def add(self, *, terminal: bool = False) -> None:
        self.events.append(OrderEvent(sequence=len(self.events) + 1, terminal=terminal))

    async def ListOrderEvents(self, request: ListOrderEventsRequest) -> ListOrderEventsResponse:
        self.asked.set()
        if self.away:
            self.away -= 1
            raise Unavailable("orders is away")
        return ListOrderEventsResponse(
            events=[event for event in self.events if event.sequence > request.after],
            terminal_sequence=next((e.sequence for e in self.events if e.terminal), 0),
        )


async def collect(
    record: Record, wakeups: Wakeups, after: int = 0, poll_seconds: float = LONG
) -> list[int]:
    stub = cast(OrdersServiceAsyncStub, record)
    page = await record.ListOrderEvents(ListOrderEventsRequest(after=after))
    return [
        event.sequence
        async for event in follow(
            stub, "o-1", page, after, wakeups=wakeups, poll_seconds=poll_seconds
        )
    ]


async def asked_again(record: Record) -> None:
    record.asked.clear()
    await asyncio.wait_for(record.asked.wait(), 5)
    await asyncio.sleep(0.01)


async def test_an_ended_order_is_told_from_its_beginning_to_its_end() -> None:
    record = Record()
    record.add()
    record.add(terminal=True)
    assert await collect(record, Wakeups()) == [1, 2]


async def test_what_follows_the_end_is_not_told() -> None:
    record = Record()
    record.add()
    record.add(terminal=True)
    record.add()
    assert await collect(record, Wakeups()) == [1, 2]


async def test_a_resumed_stream_goes_on_behind_what_was_seen() -> None:
    record = Record()
    record.add()
    record.add()
    record.add(terminal=True)
    assert await collect(record, Wakeups(), after=1) == [2, 3]


async def test_a_stream_resumed_beyond_what_there_is_ends_with_the_order() -> None:
    record, wakeups = Record(), Wakeups()
    record.add()
    stream = asyncio.create_task(collect(record, wakeups, after=7))
    await asked_again(record)
    record.add(terminal=True)
    wakeups.wake("o-1")
    assert await asyncio.wait_for(stream, 5) == []


async def test_news_wakes_a_waiting_stream() -> None:
    record, wakeups = Record(), Wakeups()
    record.add()
    stream = asyncio.create_task(collect(record, wakeups))
    await asked_again(record)
    record.add(terminal=True)
    wakeups.wake("o-2")
    await asyncio.sleep(0.05)
    assert not stream.done()
    wakeups.wake("o-1")
    assert await asyncio.wait_for(stream, 5) == [1, 2]


async def test_a_stream_that_nobody_wakes_looks_by_itself() -> None:
    record = Record()
    record.add()
    stream = asyncio.create_task(collect(record, Wakeups(), poll_seconds=0.05))
    await asked_again(record)
    record.add(terminal=True)
    assert await asyncio.wait_for(stream, 5) == [1, 2]


async def test_a_stream_outlasts_orders_being_away() -> None:
    record = Record()
    record.add()
    stream = asyncio.create_task(collect(record, Wakeups(), poll_seconds=0.01))
    await asked_again(record)
    record.away = 3
    record.add(terminal=True)
    assert await asyncio.wait_for(stream, 5) == [1, 2]


async def test_nobody_is_waiting_for_once_the_stream_is_closed() -> None:
    wakeups = Wakeups()
    record = Record()
    record.add()
    stream = asyncio.create_task(collect(record, wakeups))
    await asked_again(record)
    assert [*wakeups._waiting] == ["o-1"]
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    assert [*wakeups._waiting] == []


def test_nothing_is_left_to_tell_behind_the_terminal_event() -> None:
    assert has_ended(ListOrderEventsResponse(terminal_sequence=4), 4)
    assert has_ended(ListOrderEventsResponse(terminal_sequence=4), 9)
    assert not has_ended(ListOrderEventsResponse(terminal_sequence=4), 3)
    assert not has_ended(ListOrderEventsResponse(), 9)
