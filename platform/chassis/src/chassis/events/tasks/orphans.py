"""Tasks of canaries that have ended: the versions without a weight run them."""

import asyncio
from collections.abc import Callable, Collection

import structlog
from sqlalchemy import select, update

from chassis.database import ConnectionLost, Database, DatabaseDown, Transaction
from chassis.database.tables import tasks
from chassis.events.membership.canaries import Canaries
from chassis.events.waiting import wait_at_most

__all__ = ["Orphans"]

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 60.0
_IS_OF_CANARY = tasks.c.canary != ""


class Orphans:
    """Finds the tasks of canaries that do not run any more, or have a weight of 0."""

    def __init__(self, database: Database, canaries: Callable[[], Canaries]) -> None:
        self._database = database
        self._canaries = canaries
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look now, because the members have changed. Call on the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Look once a minute and whenever woken, until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.look()
            except (DatabaseDown, ConnectionLost) as error:  # Readiness reports it.
                _log.debug("search for tasks of ended canaries failed; retrying", error=str(error))
            except Exception:
                _log.exception("search for tasks of ended canaries failed; retrying")
            await wait_at_most(self._woken, _LOOK_SECONDS)

    async def look(self) -> None:
        """Give the tasks of ended canaries to the versions without a weight."""
        running = self._canaries().running
        if running is None:
            return
        found = await self._database.read(
            lambda tx: set(
                tx.session.execute(select(tasks.c.canary).where(_IS_OF_CANARY).distinct()).scalars()
            )
        )
        if ended := found - running:
            moved = await self._database.transaction(lambda tx: _give_back(tx, ended))
            _log.info(
                "canary ended; the other versions run its tasks",
                canaries=sorted(ended),
                tasks=moved,
            )


def _give_back(tx: Transaction, ended: Collection[str]) -> int:
    """Make the tasks of these canaries tasks of no canary; return their number."""
    of_ended = _IS_OF_CANARY & tasks.c.canary.in_(ended)
    result = tx.session.execute(update(tasks).where(of_ended).values(canary=""))
    return int(getattr(result, "rowcount", 0))
