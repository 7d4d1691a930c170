"""The lanes of one stream that a member holds: marked in the database, waited for, contested."""

import random
import time
from collections.abc import Collection, Iterable

import structlog

from chassis.database import Database
from chassis.events.consumer.suspicions import Suspicions
from chassis.events.membership import lane_marks
from chassis.events.membership.members import Members

__all__ = ["HeldLanes"]

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 0.1


class HeldLanes:
    """What a member reads of its share: all but what another holds, contests, or what is stopped.

    `reading` are the lanes that are read.
    """

    def __init__(
        self, stream: str, database: Database, members: Members, suspicions: Suspicions
    ) -> None:
        self._stream = stream
        self._database = database
        self._members = members
        self._suspicions = suspicions
        self.reading: frozenset[int] = frozenset()
        self._busy_since: dict[int, float] = {}
        self._contested: dict[int, float] = {}

    def are_other_than(self, resting: Collection[int]) -> bool:
        """Whether other lanes are to be read than those that are; `resting` ones are stopped."""
        return self._wanted(resting) - self._busy_since.keys() != self.reading

    def next_look(self) -> float:
        """Seconds until a lane that another holds or contests may start; infinite if none does."""
        if self._busy_since:
            return _POLL_SECONDS
        now = time.monotonic()
        return min((max(0.01, at - now) for at in self._contested.values()), default=float("inf"))

    async def take(self, resting: Collection[int]) -> None:
        """Mark the lanes to read; those another living member still holds are waited for."""
        wanted = self._wanted(resting)
        ttl = self._members.ttl_seconds
        now = time.monotonic()
        patient = {lane for lane in wanted if now - self._busy_since.get(lane, now) < 2 * ttl}
        living = self._members.living
        result = await self._database.transaction(
            lambda tx: lane_marks.mark(
                tx.session, self._members.member, self._stream, wanted, living, patient
            )
        )
        self._busy_since = {lane: self._busy_since.get(lane, now) for lane in result.busy}
        self._suspicions.add(result.suspect)
        if result.suspect:
            _log.info(
                "member died without releasing its lanes; handling their first events one by one",
                stream=self._stream,
                lanes=sorted(result.suspect),
            )
        self.reading = wanted - result.busy

    async def some_freed(self) -> bool:
        """Whether a lane that was waited for has been let go, or waited for too long."""
        if not self._busy_since:
            return False
        others = self._members.living - {self._members.member}
        held = await self._database.read(
            lambda tx: lane_marks.held_by(tx.session, self._stream, others)
        )
        patience = time.monotonic() - 2 * self._members.ttl_seconds
        return any(lane not in held or since < patience for lane, since in self._busy_since.items())

    def contest(self, lanes: Iterable[int]) -> None:
        """Another member takes events of these: leave them alone for a moment."""
        until = time.monotonic() + self._members.ttl_seconds * random.uniform(0.2, 0.6)
        self._contested |= dict.fromkeys(lanes, until)

    async def let_go(self) -> None:
        """Unmark them: others may take them over at once."""
        await self._database.transaction(
            lambda tx: lane_marks.unmark(tx.session, self._members.member, self._stream)
        )
        self.reading = frozenset()

    def _wanted(self, resting: Collection[int]) -> frozenset[int]:
        now = time.monotonic()
        self._contested = {lane: until for lane, until in self._contested.items() if until > now}
        return self._members.lanes - self._contested.keys() - set(resting)
