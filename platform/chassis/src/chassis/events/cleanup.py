"""Deletes what nobody needs any more: dead letters by their age, marks of members that are gone."""

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
_MOST = 500


class Cleanup:
    """Looks now and again, in small commits.

    A mark tells who takes a lane over that its events may have ended a process. One of a stream
    that is read no more is never asked for: it goes when its member has been gone for long.
    """

    def __init__(self, database: Database, members: Members, settings: EventSettings) -> None:
        self._database = database
        self._members = members
        self._letters_seconds = settings.dead_letter_max_age_seconds
        self._marks_seconds = settings.mark_max_age_seconds
        self._gone_since: dict[Mark, float] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except (DatabaseDown, ConnectionLost) as error:  # readiness says so as well
                _log.debug(
                    "cleanup of dead letters and lane marks failed; retrying", error=str(error)
                )
            except Exception:
                _log.exception("cleanup of dead letters and lane marks failed; retrying")
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Delete what has had its time."""
        if self._letters_seconds is not None:
            await self._delete_letters(time.time() - self._letters_seconds)
        await self._delete_marks()

    async def _delete_letters(self, before: float) -> None:
        deleted = 0
        while some := await self._database.transaction(
            lambda tx: dead_letter_rows.delete_oldest(tx.session, before, _MOST)
        ):
            deleted += some
        if deleted:
            _log.warning("dead letters deleted because of their age", dead_letters=deleted)

    async def _delete_marks(self) -> None:
        if not self._members.known:
            self._gone_since.clear()
            return
        marks = await self._database.read(lambda tx: lane_marks.load(tx.session))
        now = time.monotonic()
        left = {mark for mark in marks if mark.member not in self._members.living}
        self._gone_since = {mark: self._gone_since.get(mark, now) for mark in left}
        old = [m for m, since in self._gone_since.items() if now - since >= self._marks_seconds]
        if old:
            await self._database.transaction(lambda tx: lane_marks.delete_all(tx.session, old))
