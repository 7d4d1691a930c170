"""Event types that an operator has paused, in a table that every member reads.

A member handles no events and starts no tasks of a paused type; those that already run are
finished. Other types continue, those of the same lane and key too: while a type is paused, events
are in order only within each type.
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
_ALL = select(paused_types).order_by(paused_types.c.type)


@dataclass(frozen=True, slots=True)
class Pause:
    """A paused type, with the time (epoch seconds) and the operator that paused it."""

    type: str
    paused_at: float
    paused_by: str


def load(session: Session) -> list[Pause]:
    """Return all paused types."""
    return [Pause(row.type, row.paused_at, row.paused_by) for row in session.execute(_ALL)]


def pause(session: Session, types: Collection[str], by: str) -> int:
    """Pause types; return how many of them were not paused before."""
    new = sorted(set(types) - {paused.type for paused in load(session)})
    if new:
        now, name = time.time(), by[:LONGEST_NAME]
        rows = [{"type": type, "paused_at": now, "paused_by": name} for type in new]
        session.execute(insert(paused_types), rows)
    return len(new)


def resume(session: Session, types: Collection[str]) -> int:
    """Resume types; return how many of them were paused."""
    resumed = sorted(set(types) & {paused.type for paused in load(session)})
    session.execute(delete(paused_types).where(paused_types.c.type.in_(resumed)))
    return len(resumed)


class Pauses:
    """The paused types as a member knows them; `loaded` is set after the first read."""

    def __init__(self, database: Database, every_seconds: float) -> None:
        self._database = database
        self._every_seconds = every_seconds
        self._on_change: list[Callable[[], None]] = []
        self._read_now = asyncio.Event()
        self.types: frozenset[str] = frozenset()
        self.loaded = asyncio.Event()

    def on_change(self, call: Callable[[], None]) -> None:
        """Register a call for each change of the paused types."""
        self._on_change.append(call)

    def look_again(self) -> None:
        """Read the table at once. To be called on the event loop."""
        self._read_now.set()

    async def run(self) -> None:
        """Read the table at each interval, until cancelled."""
        while True:
            self._read_now.clear()
            try:
                paused = await self._database.read(lambda tx: load(tx.session))
            except Exception as error:  # Readiness reports an unavailable database.
                _log.debug(
                    "reading paused types failed; keeping the last known ones", error=repr(error)
                )
            else:
                self.found(paused)
            await wait_at_most(self._read_now, self._every_seconds)

    def found(self, paused: Collection[Pause]) -> None:
        """Apply what was read; log the changes and make the registered calls."""
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
