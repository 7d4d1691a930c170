"""A reader makes a new consumer when there is a reason, and never in a circle.

A machine that stood still is a reason too: a consumer that was not heard of is made anew. So none
of the tests asks for a single one, but for far fewer than there were occasions.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from bookshop import Node, TestSettings, accountant, eventually, prepare_database, sold, write_down
from nats.aio.client import Client
from owners import bystander
from reading import has_taken, is_stopped, remove, returned_by, taken_ids
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
from chassis.telemetry import metrics
from localservers import NatsServer


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The consumers made since."""
    made: list[Any] = []
    create = consumers.create_consumer

    async def create_consumer(*arguments: Any) -> None:
        made.append(arguments)
        await create(*arguments)

    monkeypatch.setattr(pull, "create_consumer", create_consumer)
    return made


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """How often positions were compared with the stream."""
    cast: list[Any] = []
    has_caught_up = SafetyNet.has_caught_up

    def counted(net: SafetyNet, state: StreamState) -> bool:
        cast.append(state)
        return has_caught_up(net, state)

    monkeypatch.setattr(SafetyNet, "has_caught_up", counted)
    return cast


async def so_many(counted: list[Any], count: int) -> None:
    async def holds() -> bool:
        return len(counted) >= count

    await eventually(holds)


async def test_one_with_nothing_to_do_stays_with_its_consumer(
    nats: NatsServer,
    new_database: Callable[[str], str],
    openings: list[Any],
    nets: list[Any],
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
            await so_many(nets, 5)
            requests, statements = count_requests(monkeypatch), count_statements(books)
            before, opened = len(nets), len(openings)
            await so_many(nets, before + 20)
            cast = len(nets) - before
            asked = [subject for subject in requests if subject.startswith("$JS.API")]
            said = list(statements)
            opened = len(openings) - opened
    assert opened < cast / 4
    # What it costs to have nothing to do: a small request to the broker now and then.
    assert len(asked) < 2 * cast
    assert len([s for s in said if "slipway_position" in s or "slipway_mark" in s]) < cast / 2


def count_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The subjects of what is sent to the broker from now on."""
    subjects: list[str] = []
    send = Client._send_publish

    async def counted(self: Client, subject: str, *arguments: Any, **options: Any) -> None:
        subjects.append(subject)
        await send(self, subject, *arguments, **options)

    monkeypatch.setattr(Client, "_send_publish", counted)
    return subjects


def count_statements(node: Node) -> list[str]:
    """The SQL that a node executes from now on."""
    statements: list[str] = []
    for engine in (node.database._engine, node.database._read_engine):
        event.listen(
            engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
        )
    return statements


async def test_one_with_much_to_do_stays_with_its_consumer(
    nats: NatsServer, new_database: Callable[[str], str], openings: list[Any], nets: list[Any]
) -> None:
    events = EventRouter()

    @events.on(BookSold)
    def slowly(book: BookSold, tx: Transaction, context: EventContext) -> None:
        write_down(tx, context)
        time.sleep(0.005)

    settings = TestSettings(net_seconds=0.05, batch_max_events=20)
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        # What is last in the stream stays behind while all before it is taken.
        await shop.sell(range(300))
        await shop.publish(sold(1000, keys=1001))
        await shop.sent()
        async with Node(
            "books", new_database("books"), nats.url, router=events, settings=settings
        ) as books:
            await has_taken(books, 301)
    assert len(nets) >= 8
    assert len(openings) < len(nets) / 4


async def test_one_that_waits_for_a_lane_reads_the_others_meanwhile(
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
            await so_many(looks, before + 10)
            assert len(openings) - opened < 5
            await books.database.transaction(
                lambda tx: tx.session.execute(delete(marks).where(marks.c.member == "other"))
            )
            await has_taken(books, sum(lane in own for lane in lanes))


@pytest.mark.parametrize("remembered", ["held", "aged out"])
async def test_a_subject_that_was_quiet_for_long_holds_nobody_back(
    remembered: str, nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    seen_again = metrics.EVENTS_SEEN_AGAIN.labels("bookstore.v1.BookSold")._value
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
        before = seen_again.get()
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 202)
        assert seen_again.get() == before


async def test_when_all_positions_have_aged_out_each_subject_goes_on_by_its_own_number(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    seen_again = metrics.EVENTS_SEEN_AGAIN.labels("bookstore.v1.BookSold")._value
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(200))
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 200)
        await StreamView(nats.url).api("STREAM.PURGE.bookstore", {"seq": 201})
        await shop.sell(range(200, 240))
        await shop.sent()
        before = seen_again.get()
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 240)
            assert in_order(await taken_ids(books), shop.published)
        assert seen_again.get() == before


async def test_a_stopped_lane_is_looked_at_while_the_others_stay_with_their_consumer(
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
            # What shows the gap comes while nobody reads, and what its lane took has aged out.
        (missing,) = await shop.publish(sold(0))
        await shop.sell(range(40))
        await shop.sent()
        view = StreamView(nats.url)
        await remove(view, missing.id)
        await view.api("STREAM.PURGE.bookstore", {"seq": 41})
        async with Node("books", books.url, nats.url, router=accountant(), settings=settings) as b:
            await is_stopped(b)
            await so_many(looks, 3)
            before, opened = len(looks), len(openings)
            await so_many(looks, before + 10)
            assert len(openings) - opened < 3
            # It is made anew from the outbox.
            await view.api("STREAM.DELETE.bookstore")
            await has_taken(b, 81)
            assert in_order(await taken_ids(b), shop.published)
