"""A periodic job runs on one replica at a time, again and again."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from bookshop import eventually, journal
from desk import Desk
from sqlalchemy import insert

from chassis import Transaction
from chassis.database import DatabaseDown
from chassis.events.jobs import PeriodicJob, run_periodically


@pytest.fixture
async def desk(new_database: Callable[[str], str]) -> AsyncIterator[Desk]:
    desk = Desk(new_database("desk"))
    yield desk
    desk.close()


@asynccontextmanager
async def replica(
    desk: Desk, work: Callable[[Transaction], object], seconds: float = 0.02
) -> AsyncIterator[asyncio.Task[None]]:
    database = desk.connect()
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
    """A job that notices when another run of it is under way."""

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


async def test_a_job_runs_on_one_replica_and_on_the_other_when_that_one_ends(desk: Desk) -> None:
    counting = Counting()
    async with replica(desk, counting.job("first")) as first:
        await counting.has_run("first")
        async with replica(desk, counting.job("second")):
            await counting.has_run("first", 5)
            assert "second" not in counting.runs
            await end(first)
            ended = counting.runs.count("first")
            await counting.has_run("second")
            assert counting.runs.count("first") == ended
    assert counting.together == 0
    assert await desk.written() == counting.runs


HOLDS = """
import sys, time
from chassis.database.leadership import Lock
lock = Lock(sys.argv[1], "every-tests.count")
assert lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


async def test_a_job_moves_to_another_replica_when_its_process_is_killed(desk: Desk) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, desk.url], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert await asyncio.to_thread(process.stdout.readline) == "held\n"
        counting = Counting()
        async with replica(desk, counting.job("other")):
            await asyncio.sleep(0.2)
            assert counting.runs == []
            process.kill()
            await counting.has_run("other")
    finally:
        process.kill()
        process.communicate()


async def test_a_job_that_fails_changes_nothing_and_runs_again_in_its_time(desk: Desk) -> None:
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

    async with replica(desk, work):

        async def done() -> bool:
            return len(await desk.written()) >= 2

        await eventually(done)
    assert (await desk.written())[:2] == ["5", "6"]


async def test_jobs_of_other_names_do_not_wait_for_each_other(desk: Desk) -> None:
    ran: list[str] = []
    database = desk.connect()
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
