"""A claimed task, as its member holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from chassis.events.tasks.tries import tries_in

__all__ = ["ClaimLost", "Task", "event_of"]

_EVENT_COLUMNS = ("source", "key", "event_id", "type", "subject", "headers", "data")


class ClaimLost(Exception):
    """Another member has claimed the task in the meantime, so that this commit is refused."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task claimed by a member of a version.

    The tries of a task that runs `alone` include its running attempt. Only members of the version
    `canary` claim it; if that is empty, only members of versions without a weight.
    """

    id: int
    source: str
    key: str
    event_id: str
    type: str
    subject: str
    headers: bytes
    data: bytes
    stored_at: float
    attempt: int
    alone: bool
    canary: str
    reason: str
    tried: Mapping[str, int]
    version: str

    @classmethod
    def of(cls, row: Any, version: str = "") -> Self:
        """Return the task of a row as it was before the claim."""
        columns = {name: getattr(row, name) for name in cls.__slots__ if name != "version"}
        return cls(**{**columns, "tried": tries_in(row.tried), "version": version})

    @property
    def tries(self) -> int:
        """Tries of this version."""
        return self.tried.get(self.version, 0)

    def with_tries(self, tries: int) -> Mapping[str, int]:
        """Return the tries of all versions, with `tries` as those of this version."""
        return {**self.tried, self.version: tries}


def event_of(row: Any) -> dict[str, object]:
    """Return the columns of the event in a row of a task or of a dead letter."""
    return {name: getattr(row, name) for name in _EVENT_COLUMNS}
