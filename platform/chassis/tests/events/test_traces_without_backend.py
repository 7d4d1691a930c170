"""With tracing off, each event and call that a request causes still carries its trace."""

from collections.abc import Callable, Sequence

import pytest
from bookshop import Node, eventually
from relaying import StreamView

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from chassis.events.wire import event_headers
from chassis.telemetry import trace_context
from localservers import NatsServer

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def single(events: EventRouter, seen: list[str | None]) -> None:
    @events.on(BookSold)
    def handle(sold: BookSold, tx: Transaction) -> None:
        seen.append(trace_context.current_traceparent())
        tx.publish(BookReturned(book_id=sold.book_id))


def waiting(events: EventRouter, seen: list[str | None]) -> None:
    @events.on(BookSold)
    async def handle(sold: BookSold, transact: Transact) -> None:
        seen.append(trace_context.current_traceparent())
        await transact(lambda tx: tx.publish(BookReturned(book_id=sold.book_id)))


def in_batches(events: EventRouter, seen: list[str | None]) -> None:
    @events.on_batch(BookSold)
    def handle(sold: Sequence[BookSold], contexts: Sequence[EventContext], tx: Transaction) -> None:
        for book, context in zip(sold, contexts, strict=True):
            seen.append(context.traceparent)
            tx.publish(BookReturned(book_id=book.book_id), cause=context)


@pytest.mark.parametrize("kind", [single, waiting, in_batches])
async def test_an_event_caused_by_an_event_carries_the_trace_of_the_first(
    nats: NatsServer,
    new_database: Callable[[str], str],
    kind: Callable[[EventRouter, list[str | None]], None],
) -> None:
    events, seen = EventRouter(), list[str | None]()
    kind(events, seen)
    types = (BookSold, BookReturned)
    async with Node(
        "bookstore", new_database("shop"), nats.url, router=events, publishes=types
    ) as shop:
        with trace_context.attached(TRACEPARENT, "vendor=1"):
            await shop.publish(BookSold(book_id="1", customer_id="me"))
        view = StreamView(nats.url)

        async def both_are_stored() -> bool:
            return len(await view.messages()) == 2

        await eventually(both_are_stored)
    assert seen == [TRACEPARENT]
    for message in await view.messages():
        assert event_headers.header(message.headers, "traceparent") == TRACEPARENT
        assert event_headers.header(message.headers, "tracestate") == "vendor=1"
        assert event_headers.header(message.headers, "ce-traceparent") == TRACEPARENT


async def test_events_without_a_trace_get_none(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    events, seen = EventRouter(), list[str | None]()
    single(events, seen)
    types = (BookSold, BookReturned)
    async with Node(
        "bookstore", new_database("shop"), nats.url, router=events, publishes=types
    ) as shop:
        await shop.publish(BookSold(book_id="1", customer_id="me"))
        view = StreamView(nats.url)

        async def both_are_stored() -> bool:
            return len(await view.messages()) == 2

        await eventually(both_are_stored)
    assert seen == [None]
    for message in await view.messages():
        assert event_headers.header(message.headers, "traceparent") is None
