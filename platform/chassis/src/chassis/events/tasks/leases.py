"""The leases of the tasks that a member has claimed: renewed until each task has ended."""

import asyncio
import time

import structlog

from chassis.database import Database
from chassis.events.tasks import rows as task_rows
from chassis.events.tasks.rows import Task

__all__ = ["Leases"]

_log = structlog.get_logger(__name__)
_RETRY_SECONDS = 1.0


class Leases:
    """Tasks in hand, and from when on this member may take over those of others."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._held: dict[int, Task] = {}
        self._takeovers_from = 0.0

    @property
    def held(self) -> list[int]:
        """The ids of the tasks in hand."""
        return list(self._held)

    def hold(self, task: Task) -> None:
        """Renew the lease of a task that was claimed."""
        self._held[task.id] = task

    def drop(self, task: Task) -> None:
        """Renew it no more."""
        self._held.pop(task.id, None)

    @property
    def may_take_over(self) -> bool:
        """Whether a lease that has run out means that its owner is gone."""
        return time.monotonic() >= self._takeovers_from

    def pause_takeovers(self) -> None:
        """Take over nothing for the time of a lease.

        While the database was unavailable a lease may have run out although its owner lives: the
        owner renews it as soon as it can.
        """
        self._takeovers_from = time.monotonic() + self._seconds

    async def run(self) -> None:
        """Renew three times in the time of a lease, until cancelled."""
        every = self._seconds / 3
        seconds = every
        while True:
            await asyncio.sleep(seconds)
            seconds = every
            try:
                await self.renew()
            except Exception as error:
                _log.warning("renewing task leases failed; retrying", error=repr(error))
                self.pause_takeovers()
                seconds = min(every, _RETRY_SECONDS)

    async def renew(self) -> None:
        """Renew all leases at once. Raises what the database raises."""
        held = list(self._held.values())
        if held:
            await self._database.transaction(
                lambda tx: task_rows.renew(tx.session, held, self._seconds), urgent=True
            )
