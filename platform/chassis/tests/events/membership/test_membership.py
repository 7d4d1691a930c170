"""Lanes follow the membership: members start, leave, die, or are unreachable for a while."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from bookshop import Node, TestSettings, accountant, eventually, prepare_database, write_down
from nats.aio.client import Client
from owners import announce, bystander, count_refusals
from reading import has_taken, taken_ids
from relaying import Shop, StreamView, in_order
from replicas import Replicas
from sqlalchemy import insert
from structlog.testing import capture_logs

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.database.tables import marks
from chassis.events.membership import lane_marks, members_stream
from chassis.events.wire.lanes import LANES, lane_of
from localservers import NatsServer

# No announcement expires during these tests.
PATIENT = TestSettings(member_ttl_seconds=60)


async def reads(node: Node, lanes: int) -> None:
    """Wait until a member reads this number of lanes."""

    async def holds() -> bool:
        return len(node.path.readers[0].lanes) == lanes

    await eventually(holds)


async def test_a_member_that_leaves_in_order_hands_its_lanes_over_at_once(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(1))
        nodes = [
            Node("books", url, nats.url, router=accountant(member), settings=PATIENT)
            for member in ("leaves", "stays")
        ]
        async with nodes[0], nodes[1]:
            for node in nodes:
                await reads(node, LANES // 2)
            with capture_logs() as logs:
                await nodes[0].stop()
                await reads(nodes[1], LANES)
            await shop.sell(range(1, 80))
            await has_taken(nodes[1], 80)
            # A member that has left in order is not suspected to have been killed by an event.
            assert (await nodes[1].path.ledger()).tasks == 0
            assert not [line for line in logs if "member died" in line["event"]]
            assert in_order(await taken_ids(nodes[1]), shop.published)


async def test_a_dead_members_lanes_are_taken_over_after_its_ttl(
    nats: NatsServer, new_database: Callable[[str], str], replicas: Replicas
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(1))
        async with Node("books", url, nats.url, router=accountant()) as stays:
            await reads(stays, LANES)
            dies = replicas.start(url, nats.url, "dies")
            await reads(stays, LANES // 2)
            dies.send(signal.SIGKILL)
            await reads(stays, LANES)
            await shop.sell(range(1, 80))
            await has_taken(stays, 80)
            assert in_order(await taken_ids(stays), shop.published)


async def test_a_new_owner_waits_until_the_previous_one_has_finished_its_batch(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = count_refusals(monkeypatch)
    url, busy = new_database("books"), asyncio.Event()
    loop = asyncio.get_running_loop()
    events = EventRouter()

    @events.on(BookSold)
    def slowly(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event, "slow")
        loop.call_soon_threadsafe(busy.set)
        time.sleep(0.02)

    settings = TestSettings(member_ttl_seconds=60, batch_max_events=40)
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(80))
        await shop.sent()
        slow = Node("books", url, nats.url, router=events, settings=settings)
        fast = Node("books", url, nats.url, router=accountant("fast"), settings=settings)
        async with slow:
            await busy.wait()
            async with fast:
                await reads(fast, LANES // 2)
                await shop.sell(range(80, 120))
                await has_taken(fast, 120)
                assert in_order(await taken_ids(fast), shop.published)
    assert refusals == []


async def test_a_lane_that_a_living_member_never_releases_is_taken_over_after_a_while(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop")) as shop, bystander(nats.url, "hangs"):
        shop.start_relay(nats.url)
        await shop.sell(range(40))
        await asyncio.to_thread(prepare_database, url)
        books = Node("books", url, nats.url, router=accountant())
        held = [{"member": "hangs", "stream": "bookstore", "lane": n} for n in range(LANES)]
        await books.database.transaction(lambda tx: tx.session.execute(insert(marks), held))
        async with books:
            await reads(books, LANES // 2)
            own = books.path.readers[0].lanes
            lanes = [lane_of(e.partition_key or "") for e in shop.published]
            await has_taken(books, sum(lane in own for lane in lanes))


async def test_a_member_that_was_taken_for_dead_marks_its_lanes_again(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    """Another member has unmarked them, and left them when it heard of this one again."""
    async with (
        Shop(new_database("shop")) as shop,
        Node("books", new_database("books"), nats.url, router=accountant()) as books,
    ):
        shop.start_relay(nats.url)
        await shop.sell(range(1))
        await reads(books, LANES)

        async def marked() -> int:
            return await books.database.read(
                lambda tx: len(lane_marks.held_by(tx.session, "bookstore", {books.path.member}))
            )

        assert await marked() == LANES
        await books.database.transaction(lambda tx: tx.session.execute(marks.delete()))

        async def are_marked() -> bool:
            return await marked() == LANES

        await eventually(are_marked, seconds=20)


async def test_a_membership_that_vanished_with_the_broker_is_believed_for_a_while(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with (
        bystander(nats.url, "other") as other,
        Node("books", url, nats.url, router=accountant(), settings=PATIENT) as books,
    ):
        members = books.path.members
        assert members
        await shares(other, LANES // 2)
        had: list[int] = []
        members.on_change(lambda: had.append(len(members.lanes)))
        # Only the earlier announcements tell of the stopped member.
        other.announcer.stop()
        for times in (1, 2):
            # The server kept the announcements in memory.
            nats.kill()
            nats.start()

            async def is_back(times: int = times) -> bool:
                return len(had) >= times

            await eventually(is_back)
        assert set(had) == {LANES // 2}


async def test_a_member_that_died_while_the_broker_was_down_loses_its_lanes(
    nats: NatsServer, new_database: Callable[[str], str], replicas: Replicas
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(1))
        async with Node("books", url, nats.url, router=accountant()) as stays:
            await reads(stays, LANES)
            dies = replicas.start(url, nats.url, "dies")
            await reads(stays, LANES // 2)
            nats.kill()
            dies.send(signal.SIGKILL)
            nats.start()
            await reads(stays, LANES)


async def test_a_new_member_knows_all_others_at_once(nats: NatsServer) -> None:
    async with (
        bystander(nats.url, "one"),
        bystander(nats.url, "two"),
        bystander(nats.url, "three") as newcomer,
    ):
        assert newcomer.living == {"one", "two", "three"}


@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_a_member_whose_clock_is_wrong_knows_all_others_too(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """It would read all lanes, and run the tasks of every canary, until they announced again."""
    async with bystander(nats.url, "one"):
        right = time.time
        monkeypatch.setattr(time, "time", lambda: right() + seconds)
        async with bystander(nats.url, "two") as wrong:
            assert wrong.living == {"one", "two"}


async def test_a_dead_member_is_forgotten_by_the_server_too(nats: NatsServer) -> None:
    """Otherwise every new member would believe at first that all earlier members run."""
    async with (
        bystander(nats.url, "lives", ttl_seconds=60),
        bystander(nats.url, "dies", ttl_seconds=1) as dies,
    ):
        # A member that died would announce nothing either.
        dies.announcer.stop()

        async def is_forgotten() -> bool:
            state = await StreamView(nats.url).api(
                "STREAM.INFO.slipway-members", {"subjects_filter": ">"}
            )
            return set(state["state"]["subjects"]) == {"slipway.members.books.lives"}

        await eventually(is_forgotten)


async def test_a_member_that_could_not_join_at_first_joins_later(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure, asked = members_stream.ensure_stream, []

    async def not_yet(client: Client, replicas: int) -> None:
        asked.append(client)
        if len(asked) < 3:
            raise TimeoutError("JetStream is not ready yet")
        await ensure(client, replicas)

    monkeypatch.setattr(members_stream, "ensure_stream", not_yet)
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(20))
        async with Node("books", new_database("books"), nats.url, router=accountant()) as books:
            await has_taken(books, 20)
            await reads(books, LANES)


async def test_garbage_is_not_an_announcement(nats: NatsServer) -> None:
    async with bystander(nats.url, "one") as one:
        for garbage in (
            b"",
            b"\xff",
            b"[]",
            b"null",
            b"{}",
            b'{"version": "1", "ttl": "x"}',
        ):
            await announce(nats.url, "garbage", garbage)
        async with bystander(nats.url, "two") as two:
            await shares(one, LANES // 2)
            assert one.living == two.living == {"one", "two"}


async def shares(of: Any, lanes: int) -> None:
    """Wait until a member owns this number of lanes."""

    async def holds() -> bool:
        return len(of.lanes) == lanes

    await eventually(holds)
