"""What a member says of itself to the others, and how it is read."""

import json
import math
from dataclasses import dataclass
from typing import Any
from uuid import UUID

__all__ = ["Announcement"]


@dataclass(frozen=True, slots=True)
class Announcement:
    """A replica as it announces itself; the announcement holds for `ttl_seconds`.

    `database` is the id of its database. `joined` says whether it reads and publishes, `reads`
    whether it takes lanes. `types` are the events that it handles; None if it does not say.
    """

    version: str
    ttl_seconds: float
    database: str | None = None
    joined: bool = True
    reads: bool = True
    types: frozenset[str] | None = None
    weight: int | None = None

    def to_json(self) -> bytes:
        """As it is published."""
        said = {
            "version": self.version,
            "ttl": self.ttl_seconds,
            "database": self.database,
            "joined": self.joined,
            "reads": self.reads,
            "types": sorted(self.types or ()),
        }
        return json.dumps(said).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Announcement | None":
        """Read what may be anybody's; None if no member can have said it.

        Members of older versions say less: they count as joined and as readers.
        """
        try:
            said = json.loads(data)
            version, ttl, weight = str(said["version"]), float(said["ttl"]), _weight(said)
            database = said.get("database") and str(UUID(said["database"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        if not 0 < ttl < math.inf:
            return None
        return cls(
            version,
            ttl,
            database,
            joined=said.get("joined") is not False,
            reads=said.get("reads") is not False,
            types=_types(said),
            weight=weight,
        )


def _types(said: dict[str, Any]) -> frozenset[str] | None:
    types = said.get("types")
    return frozenset(map(str, types)) if isinstance(types, list) else None


def _weight(said: dict[str, Any]) -> int | None:
    weight = said.get("weight")
    if weight is None or (type(weight) is int and 0 <= weight <= 100):
        return weight
    raise ValueError(f"no weight: {weight!r}")
