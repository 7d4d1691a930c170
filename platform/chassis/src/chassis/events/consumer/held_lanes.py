"""The lanes of one stream that a member reads, and those of its share that it may not read yet."""

import random
import time
from collections.abc import Callable, Collection, Iterable

import structlog

from chassis.database import Database
from chassis.events.consumer.suspicions import Suspicions
from chassis.events.membership import lane_marks
from chassis.events.membership.members import Members

__all__ = ["HeldLanes"]

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 0.1


class HeldLanes:
    """The lanes that a member marks in the database and reads.

    `reading` is the member's share without the lanes that another member holds or contests, and
    without those that `excluded` returns.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        members: Members,
        suspicions: Suspicions,
        excluded: Callable[[], Collection[int]],
    ) -> None:
        self._name = name
        self._database = database
        self._members = members
        self._suspicions = suspicions
        self._excluded = excluded
        self.reading: frozenset[int] = frozenset()
        self._held_by_others_since: dict[int, float] = {}
        self._contested_until: dict[int, float] = {}

    def must_change(self) -> bool:
        """Return whether the lanes to read differ from those that are read."""
        return self._wanted() - self._held_by_others_since.keys() != self.reading

    def seconds_until_retry(self) -> float:
        """Return when a lane that another member holds or contests may start; infinite if none."""
        if self._held_by_others_since:
            return _POLL_SECONDS
        now = time.monotonic()
        return min(
            (max(0.01, until - now) for until in self._contested_until.values()),
            default=float("inf"),
        )

    async def mark(self) -> None:
        """Mark the lanes to read, and unmark all others.

        Wait at most two TTLs for a lane that another living member still holds.
        """
        wanted = self._wanted()
        ttl = self._members.ttl_seconds
        now = time.monotonic()
        since = self._held_by_others_since
        wait_for = {lane for lane in wanted if now - since.get(lane, now) < 2 * ttl}
        living = self._members.living
        result = await self._database.transaction(
            lambda tx: lane_marks.mark(
                tx.session, self._members.member, self._name, wanted, living, wait_for
            )
        )
        self._held_by_others_since = {lane: since.get(lane, now) for lane in result.busy}
        self._suspicions.add(result.suspect)
        if result.suspect:
            _log.info(
                "member died without releasing its lanes; handling their first events one by one",
                stream=self._name,
                lanes=sorted(result.suspect),
            )
        self.reading = wanted - result.busy

    async def any_available(self) -> bool:
        """Return whether a lane that another member held was released or waited for too long."""
        if not self._held_by_others_since:
            return False
        others = self._members.living - {self._members.member}
        held = await self._database.read(
            lambda tx: lane_marks.held_by(tx.session, self._name, others)
        )
        patience = time.monotonic() - 2 * self._members.ttl_seconds
        return any(
            lane not in held or since < patience
            for lane, since in self._held_by_others_since.items()
        )

    async def are_marked(self) -> bool:
        """Return whether the lanes that are read are still marked.

        A member that takes another one for dead, because that was suspended, deletes its marks.
        """
        own = {self._members.member}
        marked = await self._database.read(
            lambda tx: lane_marks.held_by(tx.session, self._name, own)
        )
        return self.reading <= marked.keys()

    def leave_contested(self, lanes: Iterable[int]) -> None:
        """Do not read these lanes for a fraction of the TTL: another member processes their events.

        The random duration keeps two members from contesting the same lanes again and again.
        """
        until = time.monotonic() + self._members.ttl_seconds * random.uniform(0.2, 0.6)
        self._contested_until |= dict.fromkeys(lanes, until)

    async def release(self) -> None:
        """Unmark all lanes, so that other members may read them at once."""
        await self._database.transaction(
            lambda tx: lane_marks.unmark(tx.session, self._members.member, self._name)
        )
        self.reading = frozenset()

    def _wanted(self) -> frozenset[int]:
        """Return the lanes of the share that are neither contested nor excluded."""
        now = time.monotonic()
        self._contested_until = {
            lane: until for lane, until in self._contested_until.items() if until > now
        }
        return self._members.lanes - self._contested_until.keys() - set(self._excluded())
