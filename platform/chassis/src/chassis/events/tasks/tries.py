"""How often each version has tried an event, as a task's row keeps it: a new one begins at none."""

import json
from collections.abc import Collection, Mapping

__all__ = ["all_spent", "tries_in", "written"]


def tries_in(tried: str) -> Mapping[str, int]:
    """The tries of each version, from a row."""
    found: dict[str, int] = {} if tried == "{}" else json.loads(tried)
    return found


def written(tried: Mapping[str, int]) -> dict[str, object]:
    """The columns of a row: the tries of each version, and those of all together."""
    return {"tried": json.dumps(tried), "tries": sum(tried.values())}


def all_spent(tried: Mapping[str, int], versions: Collection[str] | None, most: int) -> bool:
    """Whether each of these running versions has made all its tries; not if they are unknown."""
    return versions is not None and all(tried.get(version, 0) >= most for version in versions)
