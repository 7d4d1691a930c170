"""Comparison of what two versions did with the same events."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest

from devkit.canary.shadow.lines import Line, Written

__all__ = ["Comparison", "Difference", "Group", "compare"]

_COMPARED = ("outcome", "reason", "published")
_GOOD = "handled"
# The outcomes of an event whose handler could not do its work.
_FAILED = frozenset({"failed", "undecodable", "outside call"})
# A version that does not handle an event has no line of a handler.
_NOTHING: Line = {"outcome": "not handled", "reason": "", "published": []}


@dataclass(frozen=True, slots=True)
class Difference:
    """Two versions of the same thing, as JSON; `title` names it."""

    title: str
    stable: object
    canary: object


@dataclass(slots=True)
class Group:
    """The events of a handler, or the rows of a table, and how many are equal.

    `failed_in_canary` counts those that only the stable version handled. `failed_in_both`
    are the reasons of those that failed in both. `seconds` are the times that the handlers took.
    """

    name: str
    number: int = 0
    failed_in_canary: int = 0
    not_run: int = 0
    stable_seconds: float = 0.0
    canary_seconds: float = 0.0
    differences: list[Difference] = field(default_factory=list)
    failed_in_both: list[str] = field(default_factory=list)

    @property
    def equal(self) -> int:
        """The number of those that do not differ."""
        return self.number - len(self.differences)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The groups of handlers and of tables, in the order in which they were first seen."""

    handlers: list[Group]
    tables: list[Group]

    @property
    def groups(self) -> Iterator[Group]:
        """All groups."""
        yield from self.handlers
        yield from self.tables

    @property
    def different(self) -> int:
        """The number of events and rows that differ."""
        return sum(len(group.differences) for group in self.groups)


def compare(stable: Written, canary: Written) -> Comparison:
    """Compare outcomes, published events and written rows."""
    return Comparison(_compare_events(stable, canary), _compare_rows(stable, canary))


def _compare_events(stable: Written, canary: Written) -> list[Group]:
    groups: dict[str, Group] = {}
    for place in dict.fromkeys([*stable.events, *canary.events]):
        pairs = zip_longest(
            stable.events.get(place, ()), canary.events.get(place, ()), fillvalue=_NOTHING
        )
        for before, after in pairs:
            name = _name(before, after)
            _add_event(groups.setdefault(name, Group(name)), place, before, after)
    return list(groups.values())


def _name(before: Line, after: Line) -> str:
    """Return the handler of both versions, or both if they differ, or else the type."""
    names = [name for line in (before, after) if (name := line.get("handler"))]
    type = str(before.get("type") or after.get("type") or "unknown type")
    return " → ".join(dict.fromkeys(names)) or type


def _add_event(group: Group, place: str, before: Line, after: Line) -> None:
    """Count an event of a handler."""
    group.number += 1
    group.not_run += after["outcome"] == "not run"
    group.failed_in_canary += before["outcome"] == _GOOD and after["outcome"] != _GOOD
    if before["outcome"] in _FAILED and after["outcome"] in _FAILED:
        group.failed_in_both.append(str(after["reason"]))
    group.stable_seconds += before.get("seconds", 0.0)
    group.canary_seconds += after.get("seconds", 0.0)
    shown = [{name: line[name] for name in _COMPARED} for line in (before, after)]
    if shown[0] != shown[1]:
        line = after if after.get("event") else before
        title = f"{line.get('type', '')} {line.get('event', '')} of key {line.get('key', '')}"
        group.differences.append(Difference(f"{title} ({place})", *shown))


def _compare_rows(stable: Written, canary: Written) -> list[Group]:
    """Compare rows in the columns that both versions have."""
    columns = _common_columns(stable, canary)
    groups: dict[str, Group] = {}
    for table, key in sorted({*stable.rows, *canary.rows}):
        group = groups.setdefault(table, Group(table))
        group.number += 1
        shown = [
            _row(version.rows.get((table, key)), columns.get(table)) for version in (stable, canary)
        ]
        if shown[0] != shown[1]:
            values = ", ".join(f"{n}={v}" for n, v in json.loads(key).items())
            group.differences.append(Difference(f"{table} {values}", *shown))
    return list(groups.values())


def _row(line: Line | None, columns: frozenset[str] | None) -> Mapping[str, object] | None:
    """Return a row in these columns, all if they are None; None if there is no row."""
    if line is None:
        return None
    return {n: v for n, v in line["row"].items() if columns is None or n in columns}


def _common_columns(stable: Written, canary: Written) -> dict[str, frozenset[str]]:
    """Return the columns that both versions have, by table, where both have rows."""
    before, after = (
        {table: frozenset(line["row"]) for (table, _), line in version.rows.items()}
        for version in (stable, canary)
    )
    return {table: before[table] & after[table] for table in before.keys() & after}
