"""Tasks of canaries that have ended: the versions without a weight run them."""

import asyncio
from collections.abc import Callable
from functools import partial

import structlog
from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.orm import Session

from chassis.database import ConnectionLost, Database, DatabaseDown, Transaction
from chassis.database.tables import tasks
from chassis.events.membership.canaries import Canaries
from chassis.events.waiting import wait_at_most

__all__ = ["Orphans", "canaries_of_tasks"]

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 1.0
_ROWS_AT_ONCE = 500
# The condition of the index slipway_task_canary. A prepared statement would not find the index if
# the empty text was a parameter.
_IS_OF_CANARY = text("canary <> ''")
_FOLLOWING_CANARY = select(func.min(tasks.c.canary)).where(
    _IS_OF_CANARY, tasks.c.canary > bindparam("after")
)


class Orphans:
    """Finds the tasks of canaries that do not run any more, or have a weight of 0."""

    def __init__(self, database: Database, canaries: Callable[[], Canaries]) -> None:
        self._database = database
        self._canaries = canaries
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look now, because the members have changed. Call on the event loop."""
        self._woken.set()

    def tasks_stored(self, canary: str) -> None:
        """Look now if the canary of tasks that were just stored has ended in the meantime."""
        if canary:
            running = self._canaries().running
            if running is not None and canary not in running:
                self.wake()

    async def run(self) -> None:
        """Look once a minute and whenever woken, until cancelled; after a find, look again soon.

        Another commit may have been storing or running a task of the ended canary.
        """
        while True:
            self._woken.clear()
            seconds = _LOOK_SECONDS
            try:
                if await self.look():
                    seconds = _LOOK_AGAIN_SECONDS
            except (DatabaseDown, ConnectionLost) as error:  # Readiness reports it.
                _log.debug("search for tasks of ended canaries failed; retrying", error=str(error))
            except Exception:
                _log.exception("search for tasks of ended canaries failed; retrying")
            await wait_at_most(self._woken, seconds)

    async def look(self) -> bool:
        """Give the tasks of ended canaries to the other versions; return whether there were any."""
        running = self._canaries().running
        if running is None:
            return False
        found = await self._database.read(lambda tx: canaries_of_tasks(tx.session))
        ended = found - running
        for canary in sorted(ended):
            moved = 0
            while some := await self._database.transaction(partial(_give_back, canary=canary)):
                moved += some
            if moved:
                _log.info(
                    "canary ended; the other versions run its tasks", canary=canary, tasks=moved
                )
        return bool(ended)


def canaries_of_tasks(session: Session) -> set[str]:
    """Return the canaries that have tasks, reading one index entry for each."""
    found: set[str] = set()
    last: str | None = ""
    while last is not None:
        last = session.execute(_FOLLOWING_CANARY, {"after": last}).scalar()
        found |= {last} if last else set()
    return found


def _give_back(tx: Transaction, canary: str) -> int:
    """Make some of a canary's tasks tasks of no canary; return their number.

    Tasks that another commit has locked are skipped, because it may take as long as a handler, and
    may be waiting for a task that is locked here.
    """
    chosen = select(tasks.c.id).where(_IS_OF_CANARY, tasks.c.canary == canary).limit(_ROWS_AT_ONCE)
    ids = tx.session.execute(chosen.with_for_update(skip_locked=True, key_share=True)).scalars()
    some = list(ids)
    tx.session.execute(update(tasks).where(tasks.c.id.in_(some)).values(canary=""))
    return len(some)
