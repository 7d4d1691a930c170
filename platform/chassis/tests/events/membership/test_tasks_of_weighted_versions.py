"""No task is stuck, whichever versions of the group have a weight, and whatever the weight is."""

import asyncio
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from bookshop import Node, TestSettings, eventually, write_down
from owners import before_commits
from relaying import Shop

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transact
from chassis.database import tables
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.membership.canaries import Canaries
from chassis.events.membership.members import Members
from chassis.events.tasks.orphans import Orphans
from chassis.events.wire.lanes import lane_of
from localservers import NatsServer


def router(version: str, *, fails: bool = False) -> EventRouter:
    events = EventRouter()

    @events.on(BookSold)
    async def sold(book: BookSold, transact: Transact, event: EventContext) -> None:
        if fails:
            raise ValueError(f"version {version} cannot handle this")
        await transact(write_down, event, version)

    return events


@pytest.fixture
def start(
    nats: NatsServer, new_database: Callable[[str], str], tmp_path: Path
) -> Callable[..., Node]:
    """Return a function that makes a replica of a version with a weight, or without one."""
    url = new_database("books")

    def make(
        version: str, weight: int | None = None, *, fails: bool = False, tries: int = 2
    ) -> Node:
        options: dict[str, Any] = {"task_tries": tries}
        if weight is not None:
            file = options["event_weight_file"] = tmp_path / version
            file.write_text(str(weight), encoding="utf-8")
        settings = TestSettings(**options)
        events = router(version, fails=fails)
        return Node("books", url, nats.url, router=events, version=version, settings=settings)

    return make


async def knows(node: Node, *others: Node) -> None:
    async def are_known() -> bool:
        return node.path.members is not None and node.path.members.living >= {
            other.path.member for other in others
        }

    await eventually(are_known)


async def has_lanes(node: Node, lanes: int) -> frozenset[int]:
    """Wait until a member reads this number of lanes, and return them."""

    async def holds() -> bool:
        return len(node.path.readers[0].lanes) == lanes

    await eventually(holds)
    return frozenset(node.path.readers[0].lanes)


async def letters_of(node: Node) -> list[Any]:
    return await node.database.read(
        lambda tx: list(tx.session.execute(tables.dead_letters.select()))
    )


async def test_a_canary_of_weight_0_delays_no_dead_letter_of_the_others(
    start: Callable[..., Node], nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with (
        Shop(new_database("shop")) as shop,
        start("1", fails=True) as stable,
        start("2", 0) as canary,
    ):
        shop.start_relay(nats.url)
        await knows(stable, canary)
        await shop.sell(range(1))

        async def is_dead() -> bool:
            return len(await letters_of(stable)) == 1

        await eventually(is_dead)


async def test_versions_that_all_have_a_weight_run_each_others_tasks(
    start: Callable[..., Node], nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with (
        Shop(new_database("shop")) as shop,
        start("1", 60, fails=True) as failing,
        start("2", 40) as working,
    ):
        shop.start_relay(nats.url)
        await knows(failing, working)
        await knows(working, failing)
        await shop.sell(range(40))

        async def all_are_handled() -> bool:
            return len(await working.journal()) == 40

        await eventually(all_are_handled)
        assert not await letters_of(working)


async def test_only_a_canary_of_weight_100_runs_tasks_of_the_others_when_none_of_them_is_left(
    start: Callable[..., Node], nats: NatsServer, new_database: Callable[[str], str], tmp_path: Path
) -> None:
    """It reads their lanes then, too."""
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        stable = await start("1", fails=True, tries=100).start()
        await shop.sell(range(1))

        async def has_a_task() -> bool:
            return bool((await stable.path.ledger()).tasks)

        await eventually(has_a_task)
        async with start("2", 5) as canary:
            await knows(canary, stable)
            lanes = await has_lanes(canary, 1)
            await stable.stop()
            in_its_lane = [n for n in range(1, 40) if lane_of(f"book-{n}") in lanes]
            await shop.sell(range(1, 40))

            async def handles_its_lane() -> bool:
                return len(await canary.journal()) == len(in_its_lane)

            await eventually(handles_its_lane)
            assert await has_lanes(canary, 1) == lanes
            (tmp_path / "2").write_text("100", encoding="utf-8")

            async def all_are_handled() -> bool:
                return len(await canary.journal()) == 40

            await eventually(all_are_handled)


async def test_a_canary_makes_no_dead_letter_while_no_other_version_runs(
    start: Callable[..., Node], nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop, start("2", 99, fails=True) as canary:
        shop.start_relay(nats.url)
        await shop.sell(range(1))

        async def is_left() -> bool:
            rows = await canary.database.read(
                lambda tx: list(tx.session.execute(tables.tasks.select()))
            )
            return [(row.canary, row.owner) for row in rows] == [("", None)]

        await eventually(is_left)
        assert not await letters_of(canary)
        async with start("1") as stable:

            async def is_handled() -> bool:
                return [row.member for row in await stable.journal()] == ["1"]

            await eventually(is_handled)


async def test_tasks_that_a_canary_stores_after_its_end_are_run_by_the_others(
    start: Callable[..., Node],
    nats: NatsServer,
    new_database: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Its last batch may take longer than the search for the tasks that it leaves behind."""
    looks: list[frozenset[str] | None] = []
    look = Orphans.look

    async def noted(orphans: Orphans) -> bool:
        running = orphans._canaries().running  # noqa: SLF001 (what this look knows)
        found = await look(orphans)
        looks.append(running)
        return found

    monkeypatch.setattr(Orphans, "look", noted)
    async with (
        Shop(new_database("shop")) as shop,
        start("1") as stable,
        start("2", 100) as canary,
    ):
        in_hand, may_commit = asyncio.Event(), asyncio.Event()

        async def hold(_events: Collection[str]) -> None:
            in_hand.set()
            await may_commit.wait()

        shop.start_relay(nats.url)
        await knows(stable, canary)
        before_commits(canary, hold)
        await shop.sell(range(1))
        await in_hand.wait()
        looks.clear()
        (tmp_path / "2").write_text("0", encoding="utf-8")

        async def both_have_looked() -> bool:
            return looks.count(frozenset()) >= 2

        await eventually(both_have_looked)
        may_commit.set()

        async def is_handled() -> bool:
            return [row.member for row in await stable.journal()] == ["1"]

        # They look once a minute without need.
        await eventually(is_handled, seconds=30)


async def test_the_members_are_asked_on_the_event_loop_only(
    start: Callable[..., Node],
    nats: NatsServer,
    new_database: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Announcements change them there, and an iteration on another thread may fail."""
    threads: set[str] = set()
    canaries = Members.canaries

    def noted(members: Members) -> Canaries:
        threads.add(threading.current_thread().name)
        return canaries(members)

    monkeypatch.setattr(Members, "canaries", noted)
    async with Shop(new_database("shop")) as shop, start("1") as node:
        shop.start_relay(nats.url)
        await shop.sell(range(3))

        async def all_are_handled() -> bool:
            return len(await node.journal()) == 3

        await eventually(all_are_handled)
    assert threads == {threading.current_thread().name}


@pytest.fixture
def members(tmp_path: Path) -> Members:
    """A canary that has not reached a broker yet."""
    (tmp_path / "weight").write_text("5", encoding="utf-8")
    broker = Broker(NatsOptions("nats://127.0.0.1:1"), "books")
    return Members(
        broker,
        service="books",
        member="one",
        version="2",
        ttl_seconds=1,
        weight_file=tmp_path / "weight",
    )


async def test_a_version_is_a_canary_before_it_reaches_the_broker(members: Members) -> None:
    assert members.canaries().own == "2"
    assert members.canaries().running is None


async def test_a_canary_stops_running_tasks_while_the_broker_is_unavailable(
    members: Members, tmp_path: Path
) -> None:
    running = asyncio.create_task(members.run())
    (tmp_path / "weight").write_text("0", encoding="utf-8")

    async def takes_none() -> bool:
        return not members.canaries().takes_events

    await eventually(takes_none)
    running.cancel()
