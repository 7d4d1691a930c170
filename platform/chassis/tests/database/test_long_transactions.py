"""A transaction that does not return is told of, with the line at which it is."""

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
from chassis.events.producer.event_factory import EventFactory

pytestmark = pytest.mark.unit

NewDatabase = Callable[[str], str]


def longest() -> float:
    return REGISTRY.get_sample_value("transaction_longest_seconds") or 0


async def test_a_transaction_that_holds_its_thread_is_told_once_until_it_has_lasted_twice_as_long(
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
        patient.look()
        assert logs == []
        strict.look()
        assert longest() >= 0.01
        (line,) = logs
        assert "test_long_transactions.py" in line["where"]
        assert line["where"].endswith("in never_returns")
        strict._told_at = dict.fromkeys(strict._told_at, 3600.0)
        strict.look()
        assert len(logs) == 1
    may_end.set()
    await running
    strict.look()
    assert (longest(), strict._told_at, database.running()) == (0, {}, [])
    await asyncio.to_thread(database.close)
