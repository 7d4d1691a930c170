"""Deletes dead letters by their age, and lane marks of members that have ended."""

import asyncio
import time

import structlog

from chassis.database import ConnectionLost, Database, DatabaseDown
from chassis.event_settings import EventSettings
from chassis.events.membership import lane_marks
from chassis.events.membership.lane_marks import Mark
from chassis.events.membership.members import Members
from chassis.events.tasks import dead_letter_rows

__all__ = ["Cleanup"]

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 60.0
_ROWS_AT_ONCE = 500


class Cleanup:
    """Looks once a minute, and deletes in small commits.

    A lane mark tells the next owner of a lane that its events may have ended a process. A mark of a
    stream that is no longer read is not looked up by any owner, so it is deleted when its member
    has been absent for `mark_max_age_seconds`.
    """

    def __init__(self, database: Database, members: Members, settings: EventSettings) -> None:
        self._database = database
        self._members = members
        self._letters_seconds = settings.dead_letter_max_age_seconds
        self._marks_seconds = settings.mark_max_age_seconds
        self._absent_since: dict[Mark, float] = {}

    async def run(self) -> None:
        """Look once a minute, until cancelled."""
        while True:
            try:
                await self.look()
            except (DatabaseDown, ConnectionLost) as error:  # Readiness reports it.
                _log.debug(
                    "cleanup of dead letters and lane marks failed; retrying", error=str(error)
                )
            except Exception:
                _log.exception("cleanup of dead letters and lane marks failed; retrying")
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Delete dead letters and lane marks that have reached their maximum age."""
        if self._letters_seconds is not None:
            await self._delete_letters(time.time() - self._letters_seconds)
        await self._delete_marks()

    async def _delete_letters(self, before: float) -> None:
        """Delete the dead letters that died before a time (epoch seconds)."""
        deleted = 0
        while some := await self._database.transaction(
            lambda tx: dead_letter_rows.delete_oldest(tx.session, before, _ROWS_AT_ONCE)
        ):
            deleted += some
        if deleted:
            _log.warning("dead letters deleted because of their age", dead_letters=deleted)

    async def _delete_marks(self) -> None:
        """Delete the lane marks of members that have been absent for `marks_seconds`."""
        if not self._members.others_known:
            self._absent_since.clear()
            return
        marks = await self._database.read(lambda tx: lane_marks.load(tx.session))
        now = time.monotonic()
        absent = {mark for mark in marks if mark.member not in self._members.living}
        self._absent_since = {mark: self._absent_since.get(mark, now) for mark in absent}
        old = [m for m, since in self._absent_since.items() if now - since >= self._marks_seconds]
        if old:
            await self._database.transaction(lambda tx: lane_marks.delete_all(tx.session, old))
