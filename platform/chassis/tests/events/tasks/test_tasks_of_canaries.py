"""A canary runs the tasks of its own lanes only, and its failures do not last."""

import pytest
from bookshop import TestSettings, eventually
from task_store import TaskStore

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter
from chassis.events.membership.canaries import Canaries
from chassis.events.tasks.orphans import Orphans

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

SETTINGS = TestSettings(task_tries=2, task_backoff_seconds=0.01)
CANARY = Canaries(own="2", running=frozenset({"2", "3"}))
STABLE = Canaries(running=CANARY.running)


class Version:
    """A version's handlers, which note the events that they are called with."""

    def __init__(self, *, fails: bool = False) -> None:
        self.calls: list[str] = []
        self.router = EventRouter()

        @self.router.on(BookSold)
        async def handle(book: BookSold, event: EventContext) -> None:
            self.calls.append(book.book_id)
            if fails:
                raise ValueError("the canary cannot handle this")


def both_versions(_type: str) -> set[str]:
    return {"1", "2"}


@pytest.mark.parametrize("alone", [False, True])
async def test_a_canary_and_the_other_versions_run_their_own_tasks(
    task_store: TaskStore, alone: bool
) -> None:
    await task_store.add(BookSold(book_id="a"), alone=alone, canary="2")
    await task_store.add(BookSold(book_id="b"), alone=alone)
    await task_store.add(BookSold(book_id="c"), alone=alone, canary="3")
    stable, canary = Version(), Version()
    async with (
        task_store.member("one", stable.router, SETTINGS, version="1", canaries=lambda: STABLE),
        task_store.member("two", canary.router, SETTINGS, version="2", canaries=lambda: CANARY),
    ):

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
    async with (
        task_store.member(
            "one", stable.router, SETTINGS, version="1",
            versions_of=both_versions, canaries=lambda: STABLE,
        ),
        task_store.member(
            "two", canary.router, SETTINGS, version="2",
            versions_of=both_versions, canaries=lambda: CANARY,
        ),
    ):  # fmt: skip
        await eventually(task_store.is_empty)
    assert (stable.calls, canary.calls) == (["a"], ["a", "a"])
    assert not await task_store.dead()


async def test_a_canary_gets_no_task_of_the_other_versions_even_if_they_fail(
    task_store: TaskStore,
) -> None:
    await task_store.add(BookSold(book_id="a"))
    stable, canary = Version(fails=True), Version()
    async with (
        task_store.member(
            "one", stable.router, SETTINGS, version="1",
            versions_of=both_versions, canaries=lambda: STABLE,
        ),
        task_store.member(
            "two", canary.router, SETTINGS, version="2",
            versions_of=both_versions, canaries=lambda: CANARY,
        ),
    ):  # fmt: skip
        await eventually(task_store.is_empty)
    assert (stable.calls, canary.calls) == (["a", "a"], [])
    assert len(await task_store.dead()) == 1


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
