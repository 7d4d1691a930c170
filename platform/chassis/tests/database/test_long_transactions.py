"""A transaction that does not return is logged, with the line that it runs."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from bookshop import eventually
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from chassis import Transaction
from chassis.database import Database
from chassis.database.long_transactions import LongTransactions
from chassis.database.threads import RunningTransaction
from chassis.events.producer.event_factory import EventFactory

pytestmark = pytest.mark.unit

NewDatabase = Callable[[str], str]


def longest() -> float:
    return REGISTRY.get_sample_value("transaction_longest_seconds") or 0


async def test_a_transaction_that_does_not_return_is_logged_with_the_line_that_it_runs(
    new_database: NewDatabase,
) -> None:
    database = Database(new_database("books"), EventFactory("books"))
    begun, may_end = threading.Event(), threading.Event()

    def never_returns(tx: Transaction) -> None:
        begun.set()
        may_end.wait(60)

    running = asyncio.create_task(database.transaction(never_returns))
    await asyncio.to_thread(begun.wait, 60)
    patient, strict = LongTransactions(database, 3600), LongTransactions(database, 0.01)

    async def is_long() -> bool:
        return database.running()[0].seconds >= 0.01

    await eventually(is_long)
    with capture_logs() as logs:
        patient.check()
        assert logs == []
        strict.check()
        assert longest() >= 0.01
        (line,) = logs
        assert "test_long_transactions.py" in line["where"]
        assert line["where"].endswith("in never_returns")
    may_end.set()
    await running
    strict.check()
    assert (longest(), database.running()) == (0, [])
    await asyncio.to_thread(database.close)


class FakeDatabase:
    """A database with one transaction on this thread."""

    threads = 1
    seconds = 0.0

    def running(self) -> list[RunningTransaction]:
        return [RunningTransaction(threading.get_ident(), 0.0, self.seconds)]


def test_a_transaction_is_logged_again_whenever_its_time_has_doubled() -> None:
    database = FakeDatabase()
    watch = LongTransactions(database, 10)  # type: ignore[arg-type]
    logged = []
    with capture_logs() as logs:
        for database.seconds in (9, 10, 11, 19, 20, 39, 40):
            watch.check()
            logged += [database.seconds] * len(logs)
            logs.clear()
    assert logged == [10, 20, 40]
