"""Periodic jobs of a service: each runs once per interval over all replicas, never twice at once.

A run locks its job's row in the same transaction as its work. A replica that hangs between two runs
therefore holds no lock, and one that hangs during a run loses its session, its lock and its changes
together (PostgreSQL's idle_in_transaction_session_timeout).
"""

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import structlog
from pydantic_settings import BaseSettings
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql

from chassis.database import (
    ConnectionLost,
    Database,
    DatabaseAtFault,
    DatabaseDown,
    Transaction,
)
from chassis.database.tables import jobs
from chassis.events.handlers.failures import FAILURES
from chassis.events.waiting import is_being_cancelled
from chassis.job import Job
from chassis.parameters import Parameters, resolve_parameters

__all__ = ["PeriodicJob", "bind_job", "job_problems", "run_periodically"]

_log = structlog.get_logger(__name__)
# A replica that wakes up to 10 % of the interval early runs the job, because it would check again
# only after a whole interval.
_EARLIEST_RUN = 0.9


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """A job bound to its arguments; `work` runs in a transaction every `seconds`."""

    name: str
    work: Callable[[Transaction], object]
    seconds: float


def job_problems(job: Job, settings: BaseSettings) -> Iterator[str]:
    """Yield what keeps a job from running, a line each."""
    if inspect.iscoroutinefunction(job.function):
        yield f"{job.name}: a job is a def; it runs in a transaction"
    else:
        yield from _parameters(job, settings).problems


def bind_job(job: Job, settings: BaseSettings) -> PeriodicJob:
    """Bind a job for which `job_problems` yields nothing to its arguments."""
    parameters = _parameters(job, settings)
    call = partial(job.function, **parameters.fixed)

    def work(tx: Transaction) -> object:
        return call(**dict.fromkeys(parameters.per_call, tx))

    return PeriodicJob(job.name, work, job.interval(settings))


def _parameters(job: Job, settings: BaseSettings) -> Parameters:
    """Resolve the parameters of a job."""
    return resolve_parameters(job.function, {Transaction: "tx"}, settings, stubs=False)


async def run_periodically(
    database: Database, job: PeriodicJob, *, is_canary: Callable[[], bool] = lambda: False
) -> None:
    """Run the job at each interval if no other replica has run it, until cancelled.

    A canary does not run it, because a job has no share that its weight could limit.
    """
    while True:
        await asyncio.sleep(job.seconds)
        if is_canary():
            continue
        try:
            await database.transaction(lambda tx: _run_if_due(tx, job))
        except (DatabaseDown, ConnectionLost, DatabaseAtFault) as error:
            _log.warning(
                "job not run: database unavailable; retrying after its interval",
                job=job.name,
                error=str(error),
            )
        except (*FAILURES, asyncio.CancelledError):
            if is_being_cancelled():
                raise
            _log.exception("job failed; retrying after its interval", job=job.name)


def _run_if_due(tx: Transaction, job: PeriodicJob) -> None:
    """Run the job unless this or another replica has run it within its interval."""
    if _lock_if_due(tx, job):
        job.work(tx)


def _lock_if_due(tx: Transaction, job: PeriodicJob) -> bool:
    """Return whether the job is due and no other replica runs it; lock it until the commit."""
    now = time.time()
    row = select(jobs.c.ran_at).where(jobs.c.name == job.name)
    ran_at = tx.session.execute(row.with_for_update(skip_locked=True)).scalar()
    if ran_at is None:  # The job has never run, or another replica runs it now.
        # PostgreSQL's ON CONFLICT DO NOTHING; SQLite understands the same text.
        new = postgresql.insert(jobs).values(name=job.name, ran_at=now)
        added = tx.session.execute(new.on_conflict_do_nothing().returning(jobs.c.name))
        return added.first() is not None
    # The distance counts in either direction: otherwise a replica whose clock is fast could prevent
    # later runs.
    if abs(now - ran_at) < _EARLIEST_RUN * job.seconds:
        return False
    tx.session.execute(update(jobs).where(jobs.c.name == job.name).values(ran_at=now))
    return True
