"""A reader creates a new consumer only if there is a reason, and not in a loop.

A machine that paused is a reason too, because the consumer's heartbeats were late. Therefore the
tests do not expect exactly one consumer, but far fewer than there were occasions.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from bookshop import Node, TestSettings, accountant, eventually, prepare_database, sold, write_down
from nats.aio.client import Client
from owners import bystander
from reading import events_counted, has_taken, is_stopped, remove, returned_by, taken_ids
from relaying import Shop, StreamView, in_order
from sqlalchemy import delete, event, insert

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.database.tables import marks
from chassis.events.consumer import lane_recovery, pull
from chassis.events.consumer.held_lanes import HeldLanes
from chassis.events.consumer.safety_net import SafetyNet
from chassis.events.jetstream import consumers
from chassis.events.jetstream.streams import StreamState
from chassis.events.membership.shares import Member, share_of_lanes
from chassis.events.wire.lanes import lane_of
from localservers import NatsServer


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The consumers that are created during the test."""
    made: list[Any] = []
    create = consumers.create_consumer

    async def create_consumer(*arguments: Any) -> None:
        made.append(arguments)
        await create(*arguments)

    monkeypatch.setattr(pull, "create_consumer", create_consumer)
    return made


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The comparisons of positions with the stream during the test."""
    made: list[Any] = []
    has_caught_up = SafetyNet.has_caught_up

    def counted(net: SafetyNet, state: StreamState) -> bool:
        made.append(state)
        return has_caught_up(net, state)

    monkeypatch.setattr(SafetyNet, "has_caught_up", counted)
    return made


async def has_counted(counted: list[Any], count: int) -> None:
    """Wait until the list has at least `count` entries."""

    async def holds() -> bool:
        return len(counted) >= count

    await eventually(holds)


async def test_an_idle_reader_keeps_its_consumer(
    nats: NatsServer,
    new_database: Callable[[str], str],
    openings: list[Any],
    checks: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = TestSettings(net_seconds=0.05)
    async with Shop(new_database("shop")) as shop:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(40))
        await shop.sent()
        await relay.stop()
        async with Node(
            "books", new_database("books"), nats.url, router=accountant(), settings=settings
        ) as books:
            await has_taken(books, 40)
            await has_counted(checks, 5)
            requests, statements = count_requests(monkeypatch), count_statements(books)
            before, opened = len(checks), len(openings)
            await has_counted(checks, before + 20)
            checked = len(checks) - before
            asked = [subject for subject in requests if subject.startswith("$JS.API")]
            said = list(statements)
            opened = len(openings) - opened
    assert opened < checked / 4
    # An idle reader costs a small request to the broker, and a read of its marks, at intervals.
    assert len(asked) < 2 * checked
    assert len([s for s in said if "slipway_position" in s]) < checked / 2
    assert len([s for s in said if "slipway_mark" in s]) < 1.5 * checked


def count_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the subjects of all messages to the broker from now on."""
    subjects: list[str] = []
    publish = Client.publish

    async def counted(self: Client, subject: str, *arguments: Any, **options: Any) -> None:
        subjects.append(subject)
        await publish(self, subject, *arguments, **options)

    monkeypatch.setattr(Client, "publish", counted)
    return subjects


def count_statements(node: Node) -> list[str]:
    """Record the statements that a node executes from now on."""
    statements: list[str] = []
    for engine in (node.database.engine, node.database.read_engine):
        event.listen(
            engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
        )
    return statements


async def test_a_busy_reader_keeps_its_consumer(
    nats: NatsServer, new_database: Callable[[str], str], openings: list[Any], checks: list[Any]
) -> None:
    events = EventRouter()

    @events.on(BookSold)
    def slowly(book: BookSold, tx: Transaction, context: EventContext) -> None:
        write_down(tx, context)
        time.sleep(0.005)

    settings = TestSettings(net_seconds=0.05, batch_max_events=20)
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        # The last event of the stream is a backlog until all events before it are handled.
        await shop.sell(range(300))
        await shop.publish(sold(1000, keys=1001))
        await shop.sent()
        async with Node(
            "books", new_database("books"), nats.url, router=events, settings=settings
        ) as books:
            await has_taken(books, 301)
    assert len(checks) >= 8
    assert len(openings) < len(checks) / 4


async def test_a_reader_that_waits_for_a_lane_reads_the_others_in_the_meantime(
    nats: NatsServer,
    new_database: Callable[[str], str],
    openings: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[Any] = []
    any_available = HeldLanes.any_available

    async def counted(self: Any) -> bool:
        looks.append(self)
        return await any_available(self)

    monkeypatch.setattr(HeldLanes, "any_available", counted)
    url = new_database("books")
    settings = TestSettings(member_ttl_seconds=60)
    shares = share_of_lanes({"new": Member("1"), "other": Member("1")})
    waited_for = [lane for lane, member in shares.items() if member == "new"][:4]
    async with Shop(new_database("shop")) as shop, bystander(nats.url, "other"):
        shop.start_relay(nats.url)
        await shop.sell(range(40))
        await shop.sent()
        books = Node("books", url, nats.url, router=accountant(), settings=settings, member="new")
        await asyncio.to_thread(prepare_database, url)
        held = [{"member": "other", "stream": "bookstore", "lane": n} for n in waited_for]
        await books.database.transaction(lambda tx: tx.session.execute(insert(marks), held))
        async with books:
            own = {lane for lane, member in shares.items() if member == "new"}
            lanes = [lane_of(e.partition_key or "") for e in shop.published]
            await has_taken(books, sum(lane in own - set(waited_for) for lane in lanes))
            before, opened = len(looks), len(openings)
            await has_counted(looks, before + 10)
            assert len(openings) - opened < 5
            await books.database.transaction(
                lambda tx: tx.session.execute(delete(marks).where(marks.c.member == "other"))
            )
            await has_taken(books, sum(lane in own for lane in lanes))


@pytest.mark.parametrize("remembered", ["held", "aged out"])
async def test_a_subject_without_recent_events_does_not_move_the_start_back(
    remembered: str, nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.publish(returned_by(0))
        await shop.sell(range(200))
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 201)
        if remembered == "aged out":
            await StreamView(nats.url).api("STREAM.PURGE.bookstore", {"seq": 2})
        await shop.publish(returned_by(0))
        await shop.sent()
        before = events_counted("events_seen_again_total")
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 202)
        assert events_counted("events_seen_again_total") == before


async def test_each_subject_continues_by_its_own_number_if_the_events_of_all_positions_are_deleted(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(200))
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 200)
        await StreamView(nats.url).api("STREAM.PURGE.bookstore", {"seq": 201})
        await shop.sell(range(200, 240))
        await shop.sent()
        before = events_counted("events_seen_again_total")
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 240)
            assert in_order(await taken_ids(books), shop.published)
        assert events_counted("events_seen_again_total") == before


async def test_a_stopped_lane_is_checked_while_the_others_keep_their_consumer(
    nats: NatsServer,
    new_database: Callable[[str], str],
    openings: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[Any] = []
    can_continue = lane_recovery.can_continue

    async def counted(*arguments: Any) -> bool:
        looks.append(arguments)
        return await can_continue(*arguments)

    monkeypatch.setattr(lane_recovery, "can_continue", counted)
    settings = TestSettings(stopped_retry_seconds=0.02)
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        async with Node(
            "books", new_database("books"), nats.url, router=accountant(), settings=settings
        ) as books:
            await shop.sell(range(40))
            await has_taken(books, 40)
            # The event after the gap is sent while no replica reads, and those before it are
            # deleted.
        (missing,) = await shop.publish(sold(0))
        await shop.sell(range(40))
        await shop.sent()
        view = StreamView(nats.url)
        await remove(view, missing.id)
        await view.api("STREAM.PURGE.bookstore", {"seq": 41})
        async with Node("books", books.url, nats.url, router=accountant(), settings=settings) as b:
            await is_stopped(b)
            await has_counted(looks, 3)
            before, opened = len(looks), len(openings)
            await has_counted(looks, before + 10)
            assert len(openings) - opened < 3
            # The relay recreates the stream from the outbox.
            await view.api("STREAM.DELETE.bookstore")
            await has_taken(b, 81)
            assert in_order(await taken_ids(b), shop.published)
