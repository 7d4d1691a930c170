"""A member claims due tasks that have a place, and knows when the next ones are due."""

import math
import time

import pytest
from bookshop import TestSettings
from task_store import TaskStore

from bookstore.v1 import BookReturned, BookSold
from chassis.events.membership.canaries import Canaries
from chassis.events.tasks import claiming
from chassis.events.tasks.claiming import Claimer
from chassis.events.tasks.leases import Leases
from chassis.events.tasks.places import Places
from chassis.events.wire.contracts import event_type

pytestmark = [pytest.mark.unit, pytest.mark.dialect]

TYPES = [event_type(BookSold), event_type(BookReturned)]


def claimer_of(task_store: TaskStore, member: str = "one", places: int = 4) -> Claimer:
    settings = TestSettings(task_lease_seconds=600)
    return Claimer(
        task_store.database,
        TYPES,
        settings,
        member=member,
        version="1",
        pauses=None,
        canaries=Canaries,
        leases=Leases(task_store.database, 600),
        places=Places(TYPES, places),
    )


async def test_without_a_look_nothing_is_claimed(task_store: TaskStore) -> None:
    await task_store.add(BookSold(book_id="a"))
    assert await claimer_of(task_store).claim() == ([], 0)


async def test_due_tasks_are_claimed_as_far_as_there_are_places(task_store: TaskStore) -> None:
    await task_store.add(*(BookSold(book_id=f"key {n}") for n in range(6)))
    claimer = claimer_of(task_store)
    await claimer.look(suspects=True)
    claimed, freed = await claimer.claim()
    assert (len(claimed), freed) == (3, 0)
    assert {(row.owner, row.attempt) for row in await task_store.rows()} == {("one", 1), (None, 0)}


async def test_a_claim_that_fills_all_places_is_followed_by_another_without_a_look(
    task_store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The time must not pass while the test adds a task.
    monkeypatch.setattr(claiming, "_CLAIM_WITHOUT_LOOK_SECONDS", 600)
    await task_store.add(*(BookSold(book_id=f"key {n}") for n in range(6)))
    claimer = claimer_of(task_store)
    await claimer.look(suspects=True)
    await claimer.claim()
    await task_store.add(BookReturned(book_id="new"))
    await claimer.look(suspects=True)
    assert claimer.seconds_until_due() == pytest.approx(0.005, abs=0.01)
    claimed, _ = await claimer.claim()
    assert {task.type for task in claimed} == {TYPES[0]}, "the look was not skipped"


async def test_the_time_until_the_next_task_is_known(task_store: TaskStore) -> None:
    claimer = claimer_of(task_store)
    await claimer.look(suspects=True)
    assert claimer.seconds_until_due() == math.inf
    await task_store.add(BookSold(book_id="a"), due_at=time.time() + 30)
    await claimer.look(suspects=True)
    assert claimer.seconds_until_due() == pytest.approx(30, abs=10)


async def test_suspects_are_looked_for_only_if_asked(task_store: TaskStore) -> None:
    await task_store.add(BookSold(book_id="a"), alone=True)
    claimer = claimer_of(task_store)
    await claimer.look(suspects=False)
    assert (claimer.due_suspects(), claimer.looks_for_suspects) == ([], False)
    await claimer.look(suspects=True)
    assert (claimer.due_suspects(), claimer.looks_for_suspects) == ([TYPES[0]], True)
