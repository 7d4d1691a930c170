"""Tries of an event by version, as a task's row keeps them. A new version starts with none."""

import json
from collections.abc import Collection, Mapping

__all__ = ["all_spent", "tries_columns", "tries_in"]


def tries_in(tried: str) -> Mapping[str, int]:
    """Return the tries by version from a row's column."""
    found: dict[str, int] = {} if tried == "{}" else json.loads(tried)
    return found


def tries_columns(tried: Mapping[str, int]) -> dict[str, object]:
    """Return a row's columns for tries: by version, and their sum."""
    return {"tried": json.dumps(tried), "tries": sum(tried.values())}


def all_spent(tried: Mapping[str, int], versions: Collection[str] | None, most: int) -> bool:
    """Whether each running version has made `most` tries; False if the versions are unknown."""
    return versions is not None and all(tried.get(version, 0) >= most for version in versions)
