"""The leases of the tasks that a member has claimed: renewed until each task has ended."""

import asyncio
import time

import structlog

from chassis.database import Database
from chassis.events.tasks import claims
from chassis.events.tasks.task import Task

__all__ = ["Leases"]

_log = structlog.get_logger(__name__)
_RETRY_SECONDS = 1.0


class Leases:
    """The claimed tasks of a member, and from when on it may take over those of others."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._held: dict[int, Task] = {}
        self._takeovers_from = 0.0

    @property
    def held(self) -> list[Task]:
        """Tasks whose leases are renewed."""
        return list(self._held.values())

    def hold(self, task: Task) -> None:
        """Renew the lease of a task from now on."""
        self._held[task.id] = task

    def drop(self, task: Task) -> None:
        """Stop renewing the lease of a task."""
        self._held.pop(task.id, None)

    @property
    def may_take_over(self) -> bool:
        """Whether an expired lease means that its owner has ended."""
        return time.monotonic() >= self._takeovers_from

    def pause_takeovers(self) -> None:
        """Take over no tasks for the time of one lease.

        While the database was unavailable a lease may have expired although its owner lives. The
        owner renews it as soon as it can.
        """
        self._takeovers_from = time.monotonic() + self._seconds

    async def run(self) -> None:
        """Renew three times within the time of a lease, until cancelled."""
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
        held = self.held
        if held:
            await self._database.transaction(
                lambda tx: claims.renew(tx.session, held, self._seconds), urgent=True
            )
