"""Many tasks of one key delay no task of another key, and none of them is lost."""

import asyncio
import random
import threading
import time
from collections.abc import Callable

import pytest
from bookshop import journal
from database_work import Work
from locks import is_blocked, next_begin
from sqlalchemy import insert, text
from task_store import TaskStore

from chassis import Transaction
from chassis.database import Database
from chassis.events.tasks import claims, queue, storage
from chassis.events.tasks.queue import TaskFilter
from chassis.events.tasks.task import Task

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

TYPE = "bookstore.v1.BookSold"


def events(key: str, numbers: range) -> list[dict[str, object]]:
    same = {"source": "here", "key": key, "type": TYPE, "subject": f"{TYPE}.1"}
    return [
        {**same, "event_id": f"{key} {n}", "headers": b"{}", "data": b"x" * 300} for n in numbers
    ]


def store(tx: Transaction, rows: list[dict[str, object]]) -> None:
    """Store events as tasks, as a batch does."""
    blocked = storage.blocked_keys(tx.session, {str(row["key"]) for row in rows})
    storage.store_in_order(tx.session, rows, storage.lock_keys(tx.session, blocked))


def claim(tx: Transaction, limit: int = 16) -> list[Task]:
    return claims.claim(
        tx.session, TaskFilter([TYPE]), dict.fromkeys([TYPE], limit), owner="one", lease_seconds=600
    )[0]


@pytest.mark.parametrize("what", ["claim", "look", "store"])
async def test_tasks_that_wait_behind_another_of_their_key_cost_no_reads(
    task_store: TaskStore, what: str
) -> None:
    def do(tx: Transaction) -> None:
        if what == "claim":
            assert not claim(tx)
        elif what == "look":
            assert queue.find_due(tx.session, TaskFilter([TYPE])).by_type
        else:
            assert len(storage.blocked_keys(tx.session, {"long", "other"})) == 1

    later = [{**e, "due_at": time.time() + 600} for e in events("long", range(1))]
    await task_store.database.transaction(lambda tx: storage.store(tx.session, later))
    costs = []
    for numbers in (range(1, 500), range(500, 5000)):
        await task_store.database.transaction(
            lambda tx, numbers=numbers: store(tx, events("long", numbers))  # type: ignore[misc]
        )
        if not task_store.database.sqlite:
            await task_store.database.transaction(
                lambda tx: tx.session.execute(text("ANALYZE slipway_task"))
            )
        work = Work()
        with work.counted(task_store.database):
            await task_store.database.transaction(do)
        costs.append(work.done)
    few, many = costs
    assert many < 3 * few + 20


async def end_all(database: Database) -> list[str]:
    """Finish all tasks one by one, and return the ids of their events in that order."""
    ended = []
    while claimed := await database.transaction(claim):
        for task in claimed:
            await database.transaction(
                lambda tx, task=task: claims.finish(tx.session, task)  # type: ignore[misc]
            )
            ended.append(task.event_id)
    return ended


@pytest.mark.parametrize("between", [0, 2])
@pytest.mark.parametrize("slow", ["storing", "ending"])
async def test_a_task_stored_while_the_one_before_it_finishes_becomes_due(
    task_store: TaskStore, slow: str, between: int
) -> None:
    before = events("a", range(1 + between))
    await task_store.database.transaction(lambda tx: store(tx, before))
    (first,) = await task_store.database.transaction(claim)
    other = task_store.connect()
    done, may_commit = threading.Event(), threading.Event()
    works: dict[str, Callable[[Transaction], None]] = {
        "storing": lambda tx: store(tx, events("a", range(7, 9))),
        "ending": lambda tx: claims.finish(tx.session, first),
    }

    def slowly(tx: Transaction) -> None:
        works.pop(slow)(tx)
        done.set()
        may_commit.wait(20)

    one = asyncio.create_task(task_store.database.transaction(slowly))
    await asyncio.to_thread(done.wait, 20)
    (quick,) = works.values()
    begun = next_begin(other)
    two = asyncio.create_task(other.transaction(quick))
    await is_blocked(other, begun, "slipway_task")
    may_commit.set()
    await asyncio.gather(one, two)
    await asyncio.to_thread(other.close)
    follow = [*before[1:], *events("a", range(7, 9))]
    assert await end_all(task_store.database) == [e["event_id"] for e in follow]
    assert await task_store.is_empty()


async def test_each_key_keeps_its_order_with_concurrent_stores_and_finishes(
    task_store: TaskStore,
) -> None:
    chance = random.Random(7)
    keys, lock = ["a", "b", "c"], threading.Lock()
    stored = 0

    def store_all(database: Database, key: str) -> None:
        nonlocal stored
        at = 0
        while at < 60:
            some = range(at, min(60, at + chance.randint(1, 4)))
            database.transact(lambda tx, some=some: store(tx, events(key, some)))  # type: ignore[misc]
            at = some.stop
        with lock:
            stored += 1

    def end(database: Database) -> None:
        deadline = time.monotonic() + 60
        while (stored < len(keys) or database.transact(left)) and time.monotonic() < deadline:
            for task in database.transact(lambda tx: claim(tx, 2)):
                again = chance.random() < 0.2
                database.transact(lambda tx, t=task, again=again: finish(tx, t, again))  # type: ignore[misc]

    def finish(tx: Transaction, task: Task, again: bool) -> None:
        if again:
            claims.postpone(tx.session, task, tries=1, due_at=0, reason="again")
        else:
            claims.finish(tx.session, task)
            tx.session.execute(insert(journal).values(event_id=task.event_id))

    def left(tx: Transaction) -> bool:
        return storage.count(tx.session) != (0, 0)

    databases = [task_store.connect() for _ in range(6)]
    await asyncio.gather(
        *(asyncio.to_thread(store_all, d, k) for d, k in zip(databases, keys, strict=False)),
        *(asyncio.to_thread(end, database) for database in databases[3:]),
    )
    for database in databases:
        await asyncio.to_thread(database.close)
    assert await task_store.is_empty()
    written = await task_store.written()
    for key in keys:
        of_key = [id for id in written if id.startswith(key)]
        assert of_key == [e["event_id"] for e in events(key, range(60))]
