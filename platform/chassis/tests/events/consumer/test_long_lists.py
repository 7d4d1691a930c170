"""Lists may be longer than the number of parameters that a database accepts."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import event, insert
from task_store import TaskStore

from bookstore.v1 import BookSold
from chassis import Transaction
from chassis.database import chunks
from chassis.database.tables import dead_letters
from chassis.events.tasks import claims, dead_letter_rows, storage
from chassis.events.tasks.queue import TaskFilter
from chassis.events.tasks.task import Task

pytestmark = pytest.mark.unit

TYPE = "bookstore.v1.BookSold"
# SQLite accepts 32,766 parameters and PostgreSQL 65,535; a lower limit makes the tests faster.
FEWER = 10_050


@pytest.fixture
async def task_store(new_database: Callable[[str], str]) -> AsyncIterator[TaskStore]:
    task_store = TaskStore(new_database("tasks"))
    yield task_store
    task_store.close()


def test_a_list_is_cut_into_parts_that_fit() -> None:
    assert [list(part) for part in chunks([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]
    assert list(chunks([])) == []


def die(tx: Transaction, letters: int, keys: int) -> None:
    same = {"source": "here", "type": TYPE, "subject": f"{TYPE}.1", "headers": b"{}", "data": b""}
    died = {"tries": 5, "reason": "no reason", "died_at": 0}
    rows = [
        {**same, **died, "key": f"key {n % keys}", "event_id": f"{n:06}"} for n in range(letters)
    ]
    tx.session.execute(insert(dead_letters), rows)


async def test_dead_letters_of_any_number_of_keys_are_redriven(tmp_path: Path) -> None:
    task_store = TaskStore(f"sqlite:///{tmp_path}/tasks.db")

    @event.listens_for(task_store.database.engine, "connect")
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, FEWER)

    many = FEWER + 100
    await task_store.database.transaction(lambda tx: die(tx, many, keys=many))
    count = await task_store.database.transaction(lambda tx: dead_letter_rows.redrive(tx.session))
    assert count == many
    assert await task_store.database.read(lambda tx: storage.count(tx.session)) == (many, 0)
    task_store.close()


async def test_redriven_events_wait_behind_their_key_and_cost_no_look(
    task_store: TaskStore,
) -> None:
    (first,) = await task_store.add(BookSold(book_id="key 0"), source="here")
    await task_store.database.transaction(lambda tx: die(tx, 60, keys=3))
    halves = [list(range(1, 31)), list(range(31, 61))]
    for ids in halves:
        # Each half has a commit of its own, as if the operator had been interrupted between them.
        await task_store.database.transaction(
            lambda tx, ids=ids: dead_letter_rows.redrive(tx.session, ids)  # type: ignore[misc]
        )
    # One task of each key is due; those that wait behind it are not found by a look.
    assert sum(row.due_at is not None for row in await task_store.rows()) == 3
    ended: list[str] = []
    while claimed := await task_store.database.transaction(claim):
        for task in claimed:
            await task_store.database.transaction(
                lambda tx, task=task: claims.finish(tx.session, task)  # type: ignore[misc]
            )
            ended.append(f"{task.key} {task.event_id}")
    assert len(ended) == 61
    assert ended.index(f"key 0 {first.id}") < ended.index("key 0 000000")
    for key in range(3):
        of_key = [e for e in ended if e.startswith(f"key {key} 0000")]
        assert all(a < b for a, b in pairwise(of_key))


def claim(tx: Transaction) -> list[Task]:
    places = {TYPE: 16}
    return claims.claim(tx.session, TaskFilter([TYPE]), places, owner="one", lease_seconds=600)[0]
