"""Event types that an operator has paused: a table that every member looks at.

A member takes no event of a paused type and begins no task of one; what is in hand ends. Events of
other types go on, those of the same lane and key too: while a type is paused, order holds within
each type only.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from chassis.database import Database
from chassis.database.tables import LONGEST_NAME, paused_types
from chassis.events.waiting import wait_at_most

__all__ = ["Pause", "Pauses", "load", "pause", "resume"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when (epoch seconds) and by whom a type is paused."""

    type: str
    paused_at: float
    paused_by: str


def load(session: Session) -> list[Pause]:
    """All of them."""
    rows = session.execute(select(paused_types).order_by(paused_types.c.type))
    return [Pause(row.type, row.paused_at, row.paused_by) for row in rows]


def pause(session: Session, types: Collection[str], by: str) -> int:
    """Pause types from now on; how many of them were not paused yet."""
    new = sorted(set(types) - {paused.type for paused in load(session)})
    if new:
        now, who = time.time(), by[:LONGEST_NAME]
        rows = [{"type": type, "paused_at": now, "paused_by": who} for type in new]
        session.execute(insert(paused_types), rows)
    return len(new)


def resume(session: Session, types: Collection[str]) -> int:
    """Let paused types go on; how many of them were paused."""
    known = sorted(set(types) & {paused.type for paused in load(session)})
    session.execute(delete(paused_types).where(paused_types.c.type.in_(known)))
    return len(known)


class Pauses:
    """The paused types as a member knows them; `loaded` once it has looked for the first time."""

    def __init__(self, database: Database, every_seconds: float) -> None:
        self._database = database
        self._every_seconds = every_seconds
        self._on_change: list[Callable[[], None]] = []
        self._again = asyncio.Event()
        self.types: frozenset[str] = frozenset()
        self.loaded = asyncio.Event()

    def on_change(self, call: Callable[[], None]) -> None:
        """Call whenever other types are paused than before."""
        self._on_change.append(call)

    def look_again(self) -> None:
        """Look at once. Call on the event loop."""
        self._again.set()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self._again.clear()
            try:
                paused = await self._database.read(lambda tx: load(tx.session))
            except Exception as error:  # that the database is away is said elsewhere
                _log.debug(
                    "reading paused types failed; keeping the last known ones", error=repr(error)
                )
            else:
                self.found(paused)
            await wait_at_most(self._again, self._every_seconds)

    def found(self, paused: Collection[Pause]) -> None:
        """These are paused now, by the database."""
        types = frozenset(each.type for each in paused)
        self.loaded.set()
        if types == self.types:
            return
        for type in sorted(types - self.types):
            _log.warning("event type paused; its events wait", type=type)
        for type in sorted(self.types - types):
            _log.info("event type resumed", type=type)
        self.types = types
        for call in self._on_change:
            call()
