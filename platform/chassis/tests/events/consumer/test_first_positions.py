"""The first positions of a service that has never read a type; a lost position is an error."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from bookshop import Node, accountant, eventually, prepare_database, write_down
from reading import (
    has_found_no_stream,
    has_taken,
    is_stopped,
    position_of,
    returned_by,
    subject_of_key,
    taken_ids,
)
from relaying import Shop, StreamView, in_order
from sqlalchemy import delete, insert, select
from structlog.testing import capture_logs

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.database.tables import positions
from chassis.events.consumer import first_positions
from chassis.events.handlers.router import Start
from chassis.events.wire.lanes import lane_of
from localservers import NatsServer


def of_sold(start: Start = "oldest") -> EventRouter:
    events = EventRouter()

    @events.on(BookSold, start=start)
    def sold(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    return events


def of_both(start: Start) -> EventRouter:
    events = of_sold()

    @events.on(BookReturned, start=start)
    def returned(book: BookReturned, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    return events


@pytest.mark.parametrize("start", ["oldest", "newest"])
async def test_a_new_service_begins_at(
    start: Start, nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        before = await shop.sell(range(60))
        await shop.sent()
        async with Node("books", new_database("books"), nats.url, router=of_sold(start)) as books:
            await has_positions(books)
            after = await shop.sell(range(60, 120))
            await shop.sent()
            await books.settled()
            expected = after if start == "newest" else before + after
            assert in_order(await taken_ids(books), expected)


@pytest.mark.parametrize("start", ["oldest", "newest"])
async def test_a_stream_that_is_created_later_is_read_from_its_first_event(
    start: Start, nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with (
        Node("books", new_database("books"), nats.url, router=of_sold(start)) as books,
        Shop(new_database("shop")) as shop,
    ):
        await has_found_no_stream(books)
        shop.start_relay(nats.url)
        await shop.sell(range(60))
        await has_taken(books, 60)
        assert in_order(await taken_ids(books), shop.published)


@pytest.mark.parametrize("start", ["oldest", "newest"])
async def test_a_type_added_later_begins_by_its_own_setting_and_the_others_continue(
    start: Start, nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        sold = await shop.sell(range(40))
        returned = await shop.publish(*map(returned_by, range(40)))
        async with Node("books", url, nats.url, router=of_sold()) as books:
            await has_taken(books, 40)
        missed = await shop.sell(range(40, 80))
        await shop.sent()
        async with Node("books", url, nats.url, router=of_both(start)) as books:
            await has_positions(books, BookReturned)
            later = await shop.publish(*map(returned_by, range(40, 80)))
            expected = sold + missed + later + (returned if start == "oldest" else [])
            await shop.sent()
            await books.settled()
            assert sorted(await taken_ids(books)) == sorted(e.id for e in expected)


async def test_deleted_events_are_not_a_gap_for_a_new_service(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(100))
        await shop.sent()
        # A running relay would send the purged events again.
        await relay.stop()
        view = StreamView(nats.url)
        # Some subjects still hold events and some none; the numbers of all continue.
        await view.api("STREAM.PURGE.bookstore", {"keep": 5})
        kept = set(await view.ids())
        async with Node("books", new_database("books"), nats.url, router=of_sold()) as books:
            await has_positions(books)
            shop.start_relay(nats.url)
            after = await shop.sell(range(100, 160))
            await has_taken(books, 65)
            held = [e for e in shop.published[:100] if e.id in kept]
            assert in_order(await taken_ids(books), held + after)
            assert (await books.path.ledger()).stopped == ()


@pytest.mark.dialect
async def test_replicas_that_begin_at_once_agree(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both, find = asyncio.Barrier(2), first_positions.find_first_positions

    async def at_once(*arguments: Any) -> Any:
        found = await find(*arguments)
        await both.wait()
        return found

    monkeypatch.setattr(first_positions, "find_first_positions", at_once)
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(60))
        await shop.sent()
        nodes = [Node("books", url, nats.url, router=of_sold()) for _ in range(2)]
        await asyncio.to_thread(prepare_database, url)
        with capture_logs() as logs:
            async with nodes[0], nodes[1]:
                await has_taken(nodes[0], 60)
                assert in_order(await taken_ids(nodes[0]), shop.published)
        assert "reading failed; retrying" not in [line["event"] for line in logs]


async def test_a_lost_position_stops_its_lane_and_is_not_a_new_start(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url, subject = new_database("books"), subject_of_key("book-0")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        before = await shop.sell(range(40))
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 40)
            await books.settled()
            row = await position_of(books, subject)
            # This holds for a running reader and for one that starts.
            await books.database.transaction(lambda tx: lose(tx, subject))
            first = await shop.sell(range(40, 80))
            await is_stopped(books)
        with capture_logs() as logs:
            async with Node("books", url, nats.url, router=accountant()) as books:
                (said,) = await is_stopped(books)
                assert said == f"{subject}: the row of its position was deleted"
                assert [
                    line["log_level"] for line in logs if line["event"].startswith("lane stopped")
                ] == ["error"]
                second = await shop.sell(range(80, 120))
                others = [
                    e for e in first + second if lane_of(e.partition_key or "") != lane_of("book-0")
                ]
                await has_taken(books, 40 + len(others))
                assert in_order(await taken_ids(books), before + others)
                # The lane continues after the row was inserted again.
                await books.database.transaction(
                    lambda tx: tx.session.execute(insert(positions).values(row._asdict()))
                )
                await has_taken(books, 120)
                assert in_order(await taken_ids(books), shop.published)
                assert (await books.path.ledger()).stopped == ()


async def has_positions(
    node: Node, message: type[BookSold] | type[BookReturned] = BookSold
) -> None:
    """Wait until the service has written its first positions."""

    async def holds() -> bool:
        return await position_of(node, subject_of_key("book-0", message)) is not None

    await eventually(holds)


def lose(tx: Transaction, subject: str) -> None:
    assert tx.session.execute(select(positions).where(positions.c.subject == subject)).first()
    tx.session.execute(delete(positions).where(positions.c.subject == subject))
