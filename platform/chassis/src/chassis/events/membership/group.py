"""The other members of a service, as each was heard of last."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from chassis.events.membership.announcement import Announcement

__all__ = ["Group"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """An announcement, and when it was heard (seconds of the group's clock)."""

    said: Announcement
    heard: float


class Group:
    """Whom this member believes to run.

    `database` is the id of this member's database. Members that have another one are strangers:
    they are remembered, and belong to the group in nothing else.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._known_strangers: set[str] = set()
        self._listening_since = 0.0
        self.database: str | None = None

    def listen(self) -> None:
        """Begin to hear announcements, perhaps again.

        No member could be heard before: all are believed for one TTL more.
        """
        self._listening_since = self._clock()

    def has_listened(self, seconds: float) -> bool:
        """Whether announcements have been heard for that long."""
        return self._clock() - self._listening_since >= seconds

    def hear(self, id: str, said: Announcement, age: float = 0) -> bool:
        """Note an announcement of that age; whether the member is new, or has another database."""
        if age >= said.ttl_seconds:
            return False
        before = self._seen.get(id)
        self._seen[id] = _Seen(said, self._clock() - age)
        return before is None or before.said.database != said.database

    def forget(self, id: str) -> bool:
        """A member has left; whether it was known."""
        return self._seen.pop(id, None) is not None

    def expire(self) -> list[str]:
        """Forget the members that were silent for their TTL; returns their ids."""
        now, since = self._clock(), self._listening_since
        gone = [
            id
            for id, seen in self._seen.items()
            if max(seen.heard, since) + seen.said.ttl_seconds < now
        ]
        for id in gone:
            del self._seen[id]
        return gone

    @property
    def members(self) -> dict[str, Announcement]:
        """The others that have the same database, by id. Older versions do not say which they
        have."""
        return {id: s.said for id, s in self._seen.items() if not self._is_stranger(s.said)}

    def rival(self, *, joined: bool) -> tuple[str, str] | None:
        """Another living database that goes first, and one of its members.

        A joined member's database goes before one that has not joined, so that a newcomer's
        mistake stops no group that works. Among equals the database that was made first goes
        first. `joined` is whether this member has joined.
        """
        others = {id: s.said for id, s in self._seen.items() if self._is_stranger(s.said)}
        for id in others.keys() - self._known_strangers:
            _log.warning(
                "member uses a different database; only one may be in use",
                member=id,
                database=others[id].database,
            )
        self._known_strangers = set(others)
        mine = (not joined, str(self.database), "")
        first = min(
            ((not said.joined, str(said.database), id) for id, said in others.items()),
            default=mine,
        )
        return first[1:] if first < mine else None

    def _is_stranger(self, said: Announcement) -> bool:
        return None not in (self.database, said.database) and said.database != self.database
