"""The announcement by which a member tells the others what it is."""

import json
import math
from dataclasses import dataclass
from typing import Any
from uuid import UUID

__all__ = ["Announcement"]


@dataclass(frozen=True, slots=True)
class Announcement:
    """A replica's announcement about itself; the announcement is valid for `ttl_seconds`.

    `database` is the id of its database. `joined` is whether it reads and publishes, and `reads`
    whether it takes lanes. `types` are the event types that it handles; None if the announcement
    does not contain them. `weight` is its version's share of the lanes in percent, if any.
    """

    version: str
    ttl_seconds: float
    database: str | None = None
    joined: bool = True
    reads: bool = True
    types: frozenset[str] | None = None
    weight: int | None = None

    def to_json(self) -> bytes:
        """Return the announcement as it is published."""
        content = {
            "version": self.version,
            "ttl": self.ttl_seconds,
            "database": self.database,
            "joined": self.joined,
            "reads": self.reads,
            "types": sorted(self.types or ()),
            "weight": self.weight,
        }
        return json.dumps(content).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Announcement | None":
        """Return a published announcement; None if it is not one, as any client may publish here.

        Announcements of older versions contain less: their members count as joined and reading.
        """
        try:
            content = json.loads(data)
            version, ttl, weight = (
                str(content["version"]),
                float(content["ttl"]),
                _weight_of(content),
            )
            database = content.get("database") and str(UUID(content["database"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        if not 0 < ttl < math.inf:
            return None
        return cls(
            version,
            ttl,
            database,
            joined=content.get("joined") is not False,
            reads=content.get("reads") is not False,
            types=_types_of(content),
            weight=weight,
        )


def _types_of(content: dict[str, Any]) -> frozenset[str] | None:
    """Return the announced event types; None if the announcement lacks them."""
    types = content.get("types")
    return frozenset(map(str, types)) if isinstance(types, list) else None


def _weight_of(content: dict[str, Any]) -> int | None:
    """Return the announced weight.

    Raises:
        ValueError: it is not a percentage.
    """
    weight = content.get("weight")
    if weight is None or (type(weight) is int and 0 <= weight <= 100):
        return weight
    raise ValueError(f"not a weight: {weight!r}")
