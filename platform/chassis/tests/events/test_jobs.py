"""A periodic job runs once per interval over all replicas, even if some of them hang."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from bookshop import Node, TestSettings, accountant, eventually, journal
from forked_python import start_code
from sqlalchemy import insert, select, update
from task_store import TaskStore

from chassis import Transaction
from chassis.database import DatabaseDown
from chassis.database.tables import jobs
from chassis.events.jobs import PeriodicJob, run_periodically
from localservers import NatsServer

pytestmark = pytest.mark.dialect


@pytest.fixture
async def task_store(new_database: Callable[[str], str]) -> AsyncIterator[TaskStore]:
    task_store = TaskStore(new_database("tasks"))
    yield task_store
    task_store.close()


@asynccontextmanager
async def replica(
    task_store: TaskStore, work: Callable[[Transaction], object], seconds: float = 0.02
) -> AsyncIterator[asyncio.Task[None]]:
    database = task_store.connect()
    running = asyncio.create_task(
        run_periodically(database, PeriodicJob("tests.count", work, seconds))
    )
    try:
        yield running
    finally:
        await end(running)
        await asyncio.to_thread(database.close)


async def end(running: asyncio.Task[None]) -> None:
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


class Counting:
    """A job that notices when two of its runs overlap."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.together = 0
        self._busy = threading.Lock()

    def job(self, name: str) -> Callable[[Transaction], object]:
        def work(tx: Transaction) -> None:
            if not self._busy.acquire(blocking=False):
                self.together += 1
                return
            self.runs.append(name)
            tx.session.execute(insert(journal).values(event_id=name))
            time.sleep(0.01)
            self._busy.release()

        return work

    async def has_run(self, name: str, times: int = 3) -> None:
        goal = self.runs.count(name) + times

        async def holds() -> bool:
            return self.runs.count(name) >= goal

        await eventually(holds)


async def test_a_job_runs_once_per_interval_over_all_replicas(task_store: TaskStore) -> None:
    counting = Counting()
    begun: list[float] = []

    def timed(work: Callable[[Transaction], object]) -> Callable[[Transaction], object]:
        def run(tx: Transaction) -> None:
            begun.append(tx.session.execute(select(jobs.c.ran_at)).scalar_one())
            work(tx)

        return run

    async with AsyncExitStack() as stack:
        for name in ("first", "second", "third"):
            await stack.enter_async_context(replica(task_store, timed(counting.job(name)), 0.1))

        async def has_run_often() -> bool:
            return len(counting.runs) >= 8

        await eventually(has_run_often)
    assert counting.together == 0
    assert await task_store.written() == counting.runs
    assert min(b - a for a, b in pairwise(begun)) >= 0.09


async def test_a_canary_runs_no_job_unless_it_takes_all_events(
    nats: NatsServer, new_database: Callable[[str], str], tmp_path: Path
) -> None:
    url, weight = new_database("books"), tmp_path / "weight"
    weight.write_text("50", encoding="utf-8")
    counting = Counting()

    def version(name: str, settings: TestSettings) -> Node:
        job = PeriodicJob("tests.count", counting.job(name), 0.02)
        router = accountant(name)
        return Node(
            "books", url, nats.url, router=router, version=name, jobs=[job], settings=settings
        )

    async with (
        version("canary", TestSettings(event_weight_file=weight)),
        version("stable", TestSettings()) as stable,
    ):
        await counting.has_run("stable", times=20)
        assert "canary" not in counting.runs
        await stable.stop()
        weight.write_text("100", encoding="utf-8")
        await counting.has_run("canary")


async def test_a_job_continues_in_another_replica_when_its_replica_ends(
    task_store: TaskStore,
) -> None:
    counting = Counting()
    async with replica(task_store, counting.job("first")):
        await counting.has_run("first")
    ended = counting.runs.count("first")
    async with replica(task_store, counting.job("second")):
        await counting.has_run("second")
    assert counting.runs.count("first") == ended


RUNS = """
import asyncio, sys, time
from bookshop import journal
from sqlalchemy import insert, select, update
from chassis.database import Database, postgres_engine
from chassis.events.jobs import PeriodicJob, run_periodically
from localservers import NatsServer
url, stands_still = sys.argv[1:]
postgres_engine.IDLE_SECONDS = 1
def work(tx):
    tx.session.execute(insert(journal).values(event_id="stopped"))
    if stands_still == "within":
        print("here", flush=True)
        time.sleep(3600)
    tx.after_commit(lambda: print("here", flush=True))
asyncio.run(run_periodically(Database(url, None), PeriodicJob("tests.count", work, 0.02)))
"""


@pytest.mark.parametrize(
    ("how", "where"),
    [(signal.SIGKILL, "between"), (signal.SIGSTOP, "between"), (signal.SIGSTOP, "within")],
)
async def test_a_replica_that_dies_or_hangs_does_not_keep_jobs_from_others(
    task_store: TaskStore, tmp_path: Path, how: signal.Signals, where: str
) -> None:
    if where == "within" and task_store.database.sqlite:
        pytest.skip("a transaction that hangs on SQLite keeps all other processes from writing")
    output = tmp_path / "output.txt"
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = start_code(RUNS, task_store.url, where, stdout=output, environment=variables)
    try:
        while not output.read_text(encoding="utf-8"):
            assert process.is_alive()
            await asyncio.sleep(0.01)
        assert process.pid
        os.kill(process.pid, how)
        counting = Counting()
        async with replica(task_store, counting.job("other")):
            await counting.has_run("other")
    finally:
        process.kill()
        process.join()
    written = await task_store.written()
    assert counting.together == 0
    # Changes that the hanging replica had not committed never take effect.
    assert ("stopped" in written) == (where == "between")


@pytest.mark.parametrize("hours", [-5, 5])
async def test_a_wrong_clock_does_not_delay_a_job(task_store: TaskStore, hours: int) -> None:
    counting = Counting()
    async with replica(task_store, counting.job("before")):
        await counting.has_run("before", 1)
    await task_store.database.transaction(
        lambda tx: tx.session.execute(update(jobs).values(ran_at=time.time() + hours * 3600))
    )
    async with replica(task_store, counting.job("after")):
        await counting.has_run("after")


async def test_a_job_that_fails_changes_nothing_and_runs_at_the_next_interval(
    task_store: TaskStore,
) -> None:
    errors: list[BaseException] = [
        ValueError("no luck"),
        DatabaseDown("away"),
        SystemExit(3),
        asyncio.CancelledError(),
    ]
    runs = 0

    def work(tx: Transaction) -> None:
        nonlocal runs
        runs += 1
        tx.session.execute(insert(journal).values(event_id=str(runs)))
        if errors:
            raise errors.pop(0)

    async with replica(task_store, work):

        async def done() -> bool:
            return len(await task_store.written()) >= 2

        await eventually(done)
    assert (await task_store.written())[:2] == ["5", "6"]


async def test_jobs_of_other_names_do_not_wait_for_each_other(task_store: TaskStore) -> None:
    ran: list[str] = []
    database = task_store.connect()
    both = [
        asyncio.create_task(run_periodically(database, PeriodicJob(name, work, 0.02)))
        for name, work in {
            "tests.one": lambda tx: ran.append("one"),
            "tests.two": lambda tx: ran.append("two"),
        }.items()
    ]

    async def both_ran() -> bool:
        return set(ran) == {"one", "two"}

    await eventually(both_ran)
    for running in both:
        await end(running)
    await asyncio.to_thread(database.close)
