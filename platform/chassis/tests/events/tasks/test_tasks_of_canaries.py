"""A canary runs the tasks of its own lanes only, and its failures do not last."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from bookshop import TestSettings, eventually
from prometheus_client import REGISTRY
from sqlalchemy import delete
from task_store import TaskStore

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Reject, Transaction, Unavailable
from chassis.database import tables
from chassis.events.membership.canaries import Canaries
from chassis.events.tasks import claims, orphans
from chassis.events.tasks.orphans import Orphans
from chassis.events.tasks.queue import TaskFilter

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

SETTINGS = TestSettings(task_tries=2, task_backoff_seconds=0.01)
CANARY = Canaries(own="2", running=frozenset({"2", "3"}))
STABLE = Canaries(running=CANARY.running)


class Version:
    """A version's handlers, which note the events that they are called with."""

    def __init__(self, *, fails: bool = False, error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.router = EventRouter()

        @self.router.on(BookSold)
        async def handle(book: BookSold, event: EventContext) -> None:
            self.calls.append(book.book_id)
            if fails or error:
                raise error or ValueError("the canary cannot handle this")


def stable_version(_type: str) -> set[str]:
    return {"1"}


@asynccontextmanager
async def both(task_store: TaskStore, stable: Version, canary: Version) -> AsyncIterator[None]:
    """Run a member of the stable version and one of the canary."""
    async with (
        task_store.member(
            "one", stable.router, SETTINGS, version="1",
            versions_of=stable_version, canaries=lambda: STABLE,
        ),
        task_store.member(
            "two", canary.router, SETTINGS, version="2",
            versions_of=stable_version, canaries=lambda: CANARY,
        ),
    ):  # fmt: skip
        yield


@pytest.mark.parametrize("alone", [False, True])
async def test_a_canary_and_the_other_versions_run_their_own_tasks(
    task_store: TaskStore, alone: bool
) -> None:
    await task_store.add(BookSold(book_id="a"), alone=alone, canary="2")
    await task_store.add(BookSold(book_id="b"), alone=alone)
    await task_store.add(BookSold(book_id="c"), alone=alone, canary="3")
    stable, canary = Version(), Version()
    async with both(task_store, stable, canary):

        async def only_the_third_is_left() -> bool:
            return [row.canary for row in await task_store.rows()] == ["3"]

        await eventually(only_the_third_is_left)
    assert (stable.calls, canary.calls) == (["b"], ["a"])


@pytest.mark.parametrize("alone", [False, True])
async def test_a_task_on_which_a_canary_has_spent_its_tries_is_run_by_the_other_versions(
    task_store: TaskStore, alone: bool
) -> None:
    await task_store.add(BookSold(book_id="a"), canary="2", alone=alone)
    stable, canary = Version(), Version(fails=True)
    async with both(task_store, stable, canary):
        await eventually(task_store.is_empty)
    assert (stable.calls, canary.calls) == (["a"], ["a", "a"])
    assert not await task_store.dead()


def counted() -> dict[str, float]:
    """Return the counters by which a canary is compared with the other versions."""
    sold = {"type": BookSold.DESCRIPTOR.full_name}
    values = {
        "failed at first": REGISTRY.get_sample_value("events_failed_at_first_total", sold),
        **{
            to: REGISTRY.get_sample_value("events_given_up_total", {**sold, "to": to})
            for to in ("another_version", "dead_letters")
        },
    }
    return {name: value or 0 for name, value in values.items()}


async def test_an_event_that_fails_is_counted_once_and_each_version_that_gives_it_up(
    task_store: TaskStore,
) -> None:
    before = counted()
    await task_store.add(BookSold(book_id="a"), canary="2")
    async with both(task_store, Version(fails=True), Version(fails=True)):
        await eventually(task_store.is_empty)
    assert {name: value - before[name] for name, value in counted().items()} == {
        "failed at first": 1,
        "another_version": 1,
        "dead_letters": 1,
    }


@pytest.mark.parametrize("error", [Reject("never"), ValueError("not today")])
async def test_an_event_that_another_member_has_taken_over_is_not_counted_as_given_up(
    task_store: TaskStore, error: Exception
) -> None:
    router, tried = EventRouter(), asyncio.Event()

    @router.on(BookSold)
    async def handle(book: BookSold, event: EventContext) -> None:
        await task_store.database.transaction(lambda tx: tx.session.execute(delete(tables.tasks)))
        tried.set()
        raise error

    before = counted()
    await task_store.add(BookSold(book_id="a"), canary="2")
    only_try = TestSettings(task_tries=1)
    async with task_store.member(
        "two", router, only_try, version="2", versions_of=stable_version, canaries=lambda: CANARY
    ):
        await tried.wait()
    assert counted() == {**before, "failed at first": before["failed at first"] + 1}


async def test_a_canary_gets_no_task_of_the_other_versions_even_if_they_fail(
    task_store: TaskStore,
) -> None:
    await task_store.add(BookSold(book_id="a"))
    stable, canary = Version(fails=True), Version()
    async with both(task_store, stable, canary):
        await eventually(task_store.is_empty)
    assert (stable.calls, canary.calls) == (["a", "a"], [])
    assert len(await task_store.dead()) == 1


async def test_a_dead_letter_names_the_version_that_gave_up(task_store: TaskStore) -> None:
    await task_store.add(BookSold(book_id="a"), canary="2")
    await task_store.add(BookSold(book_id="b"))
    stable, canary = Version(fails=True), Version(error=Reject("never"))
    async with both(task_store, stable, canary):
        await eventually(task_store.is_empty)
    assert {row.key: row.version for row in await task_store.dead()} == {"a": "2", "b": "1"}


async def test_a_canary_of_weight_0_runs_no_task(task_store: TaskStore) -> None:
    await task_store.add(BookSold(book_id="a"), canary="2")
    await task_store.add(BookSold(book_id="b"))
    stable, canary = Version(), Version()
    none = Canaries(own="2", takes_events=False)
    async with (
        task_store.member("two", canary.router, SETTINGS, version="2", canaries=lambda: none),
        task_store.member("one", stable.router, SETTINGS, version="1"),
    ):
        await eventually(task_store.is_empty)
    assert (sorted(stable.calls), canary.calls) == (["a", "b"], [])


async def test_the_tasks_of_a_canary_that_has_ended_are_run_by_the_other_versions(
    task_store: TaskStore,
) -> None:
    await task_store.add(BookSold(book_id="a"), canary="2")
    known = STABLE
    stable = Version()
    async with task_store.member(
        "one", stable.router, SETTINGS, version="1", canaries=lambda: known
    ) as runner:
        await runner.orphans.look()
        assert [row.canary for row in await task_store.rows()] == ["2"]
        known = Canaries()
        runner.orphans.wake()
        await eventually(task_store.is_empty)
    assert stable.calls == ["a"]


async def test_while_the_members_are_unknown_no_canary_loses_its_tasks(
    task_store: TaskStore,
) -> None:
    await task_store.add(BookSold(book_id="a"), canary="2")
    await Orphans(task_store.database, lambda: Canaries(running=None)).look()
    assert [row.canary for row in await task_store.rows()] == ["2"]
    await Orphans(task_store.database, lambda: Canaries(running=frozenset({"3"}))).look()
    assert [row.canary for row in await task_store.rows()] == [""]


async def test_a_canary_with_the_name_of_the_other_version_leaves_it_all_tries(
    task_store: TaskStore,
) -> None:
    await task_store.add(BookSold(book_id="a"), canary="1")
    stable, canary = Version(), Version(fails=True)
    same_name = Canaries(own="1", running=frozenset({"1"}))
    async with task_store.member(
        "two", canary.router, SETTINGS, version="1",
        versions_of=stable_version, canaries=lambda: same_name,
    ):  # fmt: skip

        async def is_left() -> bool:
            return [row.canary for row in await task_store.rows()] == [""]

        await eventually(is_left)
    async with task_store.member(
        "one", stable.router, SETTINGS, version="1", versions_of=stable_version
    ):
        await eventually(task_store.is_empty)
    assert (stable.calls, canary.calls) == (["a"], ["a", "a"])
    assert not await task_store.dead()


async def test_a_task_that_waits_too_long_for_what_a_canary_misses_is_run_by_the_other_versions(
    task_store: TaskStore,
) -> None:
    await task_store.add(BookSold(book_id="a"), canary="2", stored_at=1.0)
    stable, canary = Version(), Version(error=Unavailable("an address that only the canary has"))
    async with both(task_store, stable, canary):
        await eventually(task_store.is_empty)
    assert (stable.calls, canary.calls) == (["a"], ["a"])
    assert not await task_store.dead()


async def test_a_failure_gives_no_task_back_to_a_canary_that_has_ended(
    task_store: TaskStore,
) -> None:
    """Its attempt may end after its tasks became those of the other versions."""
    await task_store.add(BookSold(book_id="a"), canary="2")
    sold = BookSold.DESCRIPTOR.full_name
    (claimed,), _ = await task_store.database.transaction(
        lambda tx: claims.claim(
            tx.session,
            TaskFilter([sold], version="2", canary="2"),
            {sold: 1},
            owner="two",
            lease_seconds=600,
        )
    )
    await Orphans(task_store.database, Canaries).look()
    await task_store.database.transaction(
        lambda tx: claims.postpone(tx.session, claimed, tries=1, due_at=0, reason="no")
    )
    assert [row.canary for row in await task_store.rows()] == [""]


async def test_a_running_handler_does_not_delay_the_other_tasks_of_its_ended_canary(
    task_store: TaskStore,
) -> None:
    if task_store.database.sqlite:
        pytest.skip("SQLite has one writer")
    await task_store.add(BookSold(book_id="a"), BookSold(book_id="b"), canary="2")
    first = (await task_store.rows())[0].id
    locked, may_end = threading.Event(), threading.Event()

    def run(tx: Transaction) -> None:
        tx.session.execute(tables.tasks.delete().where(tables.tasks.c.id == first))
        locked.set()
        may_end.wait(60)
        raise ValueError("the handler failed")

    other = task_store.connect()
    running = asyncio.create_task(other.transaction(run))
    await asyncio.to_thread(locked.wait, 60)
    try:
        search = Orphans(task_store.database, Canaries)
        await asyncio.wait_for(search.look(), 60)
        assert [row.canary for row in await task_store.rows()] == ["2", ""]
    finally:
        may_end.set()
        with pytest.raises(ValueError, match="handler failed"):
            await running
        other.close()
    await search.look()
    assert [row.canary for row in await task_store.rows()] == ["", ""]


async def test_many_tasks_are_given_back_in_small_commits(
    task_store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "_ROWS_AT_ONCE", 2)
    await task_store.add(*(BookSold(book_id=str(n)) for n in range(5)), canary="2")
    await task_store.add(BookSold(book_id="5"), canary="3")
    assert await Orphans(task_store.database, Canaries).look()
    assert {row.canary for row in await task_store.rows()} == {""}


async def test_canaries_are_asked_for_on_the_event_loop_only(task_store: TaskStore) -> None:
    threads: set[str] = set()

    def canaries() -> Canaries:
        threads.add(threading.current_thread().name)
        return STABLE

    await task_store.add(BookSold(book_id="a"), alone=True)
    await task_store.add(BookSold(book_id="b"), canary="4")
    stable = Version()
    async with task_store.member("one", stable.router, SETTINGS, version="1", canaries=canaries):
        await eventually(task_store.is_empty)
    assert threads == {threading.current_thread().name}
