"""The other members of a service, by the last announcement of each."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from chassis.events.membership.announcement import Announcement

__all__ = ["Group"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """An announcement, and when it was received (seconds of the group's clock)."""

    announcement: Announcement
    received: float


class Group:
    """The members that are believed to run.

    `database` is the id of this member's database. Members with another one are strangers: they
    are remembered, but do not belong to the group.

    Attributes:
        changes: A number that grows with each change of what is known about the members.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._known_strangers: set[str] = set()
        self._listening_since = 0.0
        self._database: str | None = None
        self.changes = 0

    @property
    def database(self) -> str | None:
        """The id of this member's database."""
        return self._database

    @database.setter
    def database(self, id: str | None) -> None:
        self._database = id
        self.changes += 1

    def listen(self) -> None:
        """Note that announcements can be received from now on.

        They could not be received before, so that every known member is believed for another TTL.
        """
        self._listening_since = self._clock()

    def has_listened(self, seconds: float) -> bool:
        """Return whether announcements could be received for `seconds`."""
        return self._clock() - self._listening_since >= seconds

    def note(self, id: str, announcement: Announcement, age: float = 0) -> bool:
        """Note an announcement that is `age` seconds old.

        Returns whether the member is new, or has another database or weight than before.
        """
        if age >= announcement.ttl_seconds:
            return False
        before = self._seen.get(id)
        self._seen[id] = _Seen(announcement, self._clock() - age)
        self.changes += before is None or before.announcement != announcement
        return before is None or _shares(before.announcement) != _shares(announcement)

    def forget(self, id: str) -> bool:
        """Remove a member that has left; return whether it was known."""
        known = self._seen.pop(id, None) is not None
        self.changes += known
        return known

    def expire(self) -> list[str]:
        """Remove the members that were silent for their TTL, and return their ids."""
        now, since = self._clock(), self._listening_since
        gone = [
            id
            for id, seen in self._seen.items()
            if max(seen.received, since) + seen.announcement.ttl_seconds < now
        ]
        for id in gone:
            del self._seen[id]
        self.changes += len(gone)
        return gone

    @property
    def members(self) -> dict[str, Announcement]:
        """The other members, by id: those with this database, and older versions, which do not say
        which one they have."""
        announcements = {id: seen.announcement for id, seen in self._seen.items()}
        return {id: a for id, a in announcements.items() if not self._is_stranger(a)}

    def versions_of(self, type: str, *, canaries: bool) -> frozenset[str] | None:
        """Return the versions of the other members that handle an event type.

        They are those without a weight, or (`canaries`) those with a weight above 0. The result is
        None if a member does not announce what it handles.
        """
        versions: set[str] = set()
        for member in self.members.values():
            if member.types is None:
                return None
            chosen = member.weight if canaries else member.weight is None
            if chosen and type in member.types:
                versions.add(member.version)
        return frozenset(versions)

    @property
    def canaries(self) -> frozenset[str]:
        """The versions of the other members that have a weight above 0."""
        return frozenset(member.version for member in self.members.values() if member.weight)

    def rival(self, *, joined: bool) -> tuple[str, str] | None:
        """Return a database that takes precedence over this member's, and one of its members.

        The database of a member that has joined takes precedence over that of one that has not, so
        that the mistake of a new replica does not stop a group that works. Otherwise the database
        that was created first takes precedence. `joined` is whether this member has joined.
        """
        announcements = {id: seen.announcement for id, seen in self._seen.items()}
        others = {id: a for id, a in announcements.items() if self._is_stranger(a)}
        for id in others.keys() - self._known_strangers:
            _log.warning(
                "member uses a different database; only one may be in use",
                member=id,
                database=others[id].database,
            )
        self._known_strangers = set(others)
        mine = (not joined, str(self.database), "")
        first = min(
            ((not other.joined, str(other.database), id) for id, other in others.items()),
            default=mine,
        )
        return first[1:] if first < mine else None

    def _is_stranger(self, other: Announcement) -> bool:
        """Return whether a member has another database than this one."""
        return None not in (self.database, other.database) and other.database != self.database


def _shares(announcement: Announcement) -> tuple[str | None, int | None]:
    """Return what decides on a member's lanes and may change while it runs."""
    return announcement.database, announcement.weight
