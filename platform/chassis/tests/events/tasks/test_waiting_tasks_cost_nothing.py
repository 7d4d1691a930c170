"""A look costs the same however many tasks wait, of handled types or of others."""

import time
from collections.abc import Callable

import pytest
from database_work import Work
from sqlalchemy import text
from task_store import TaskStore

from bookstore.v1 import BookSold
from chassis import Transaction
from chassis.events.tasks import claims, queue, storage
from chassis.events.tasks.orphans import canaries_of_tasks
from chassis.events.tasks.queue import TaskFilter
from chassis.events.tasks.unhandled import old_tasks, waiting_types

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

TYPES = [f"bookstore.v1.Type{n}" for n in range(8)] + ["bookstore.v1.BookSold"]
PILES = {
    "not due yet": ("bookstore.v1.BookSold", 86400.0, False, ""),
    "due, of a type that is not handled": ("bookstore.v1.Renamed", -86400.0, False, ""),
    "to run alone, of a type that is not handled": ("bookstore.v1.Renamed", -86400.0, True, ""),
    "due, of a canary": ("bookstore.v1.BookSold", -86400.0, False, "2"),
    "to run alone, of a canary": ("bookstore.v1.BookSold", -86400.0, True, "2"),
}


def pile_up(tx: Transaction, pile: str, numbers: range) -> None:
    """Insert tasks, each with a key of its own, by one statement."""
    type, due, alone, canary = PILES[pile]
    now = time.time()
    if tx.session.get_bind().dialect.name == "sqlite":
        series = "WITH RECURSIVE s(i) AS (SELECT :a UNION ALL SELECT i + 1 FROM s WHERE i < :b)"
    else:
        series = "WITH s(i) AS (SELECT generate_series(CAST(:a AS int), CAST(:b AS int)))"
    statement = text(
        f"""
        INSERT INTO slipway_task (source, key, event_id, type, subject, headers, data, stored_at,
                                  due_at, followed, tries, attempt, alone, canary, reason)
        {series}
        SELECT 'here', 'key ' || i, 'id ' || i, :type, 's', :data, :data, :now,
               :due + i / 1000.0, false, 1, 1, :alone, :canary, 'no' FROM s
        """
    )
    values = {"type": type, "data": b"x" * 300, "now": now, "due": now + due}
    values |= {"alone": alone, "canary": canary}
    tx.session.execute(statement, {**values, "a": numbers.start, "b": numbers.stop - 1})


def claim(tx: Transaction) -> int:
    what = TaskFilter(TYPES, expired=True)
    places = dict.fromkeys(TYPES, 16)
    return len(claims.claim(tx.session, what, places, owner="one", lease_seconds=600)[0])


def claim_alone(tx: Transaction) -> int:
    return claims.claim_suspect(tx.session, owner="one", types=TYPES, lease_seconds=600) is None


ASKED: dict[str, Callable[[Transaction], object]] = {
    "what is next": lambda tx: queue.find_due(tx.session, TaskFilter(TYPES)),
    "claim": claim,
    "claim what runs alone": claim_alone,
    "types that wait": lambda tx: waiting_types(tx.session),
    "what is too old": lambda tx: old_tasks(tx.session, "bookstore.v1.Renamed", 0),
    "canaries that have tasks": lambda tx: canaries_of_tasks(tx.session),
    "what blocks keys": lambda tx: storage.blocked_keys(tx.session, {"key 1", "other"}),
}


@pytest.mark.parametrize("pile", PILES)
async def test_waiting_tasks_cost_a_look_no_rows(task_store: TaskStore, pile: str) -> None:
    await task_store.add(BookSold(book_id="first"), due_at=time.time() + 80000)
    costs: list[dict[str, int]] = []
    for numbers in (range(1, 200), range(200, 20_000)):
        await task_store.database.transaction(lambda tx, n=numbers: pile_up(tx, pile, n))  # type: ignore[misc]
        await task_store.database.transaction(lambda tx: tx.session.execute(text("ANALYZE")))
        costs.append({})
        for name, ask in ASKED.items():
            work = Work()
            with work.counted(task_store.database):
                await task_store.database.transaction(ask)
            costs[-1][name] = work.done
    few, many = costs
    # A deeper index costs one page more for each type; reading the waiting tasks costs hundreds.
    allowed = {name: 1.1 * few[name] + 3 * len(TYPES) for name in ASKED}
    assert {name: (few[name], cost) for name, cost in many.items() if cost > allowed[name]} == {}
