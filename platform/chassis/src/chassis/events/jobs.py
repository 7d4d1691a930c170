"""Runs a service's periodic jobs, each on one replica at a time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from chassis.database import ConnectionLost, Database, DatabaseDown, Transaction
from chassis.database.leadership import Lock
from chassis.events.handlers import FAILURES
from chassis.events.waiting import is_being_cancelled

__all__ = ["PeriodicJob", "run_periodically"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """`work` runs in a transaction every `seconds`."""

    name: str
    work: Callable[[Transaction], object]
    seconds: float


async def run_periodically(database: Database, job: PeriodicJob) -> None:
    """Run the job until cancelled, whenever this replica holds its lock."""
    lock = Lock(database.url, f"every-{job.name}")
    try:
        while True:
            await asyncio.sleep(job.seconds)
            try:
                if await asyncio.to_thread(lock.acquire):
                    await database.transaction(job.work)
            except (DatabaseDown, ConnectionLost) as error:
                _log.warning("a job waits for the database", job=job.name, error=str(error))
            except (*FAILURES, asyncio.CancelledError):
                if is_being_cancelled():
                    raise
                _log.exception("a job failed; it runs again in its time", job=job.name)
    finally:
        await asyncio.to_thread(lock.release)
