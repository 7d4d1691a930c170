"""The report of a shadow: a line of JSON for each event and handler, and for each written row."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Outcome", "Result", "WrittenRow"]

Outcome = Literal[
    "handled", "failed", "rejected", "undecodable", "not handled", "not run", "outside call"
]


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a handler for an event.

    `published` has type, key and data of each event that it would have published. `handler` is
    empty if this version has none for the type.
    """

    place: str
    event: str
    type: str
    key: str
    handler: str
    outcome: Outcome
    reason: str = ""
    published: Sequence[object] = ()
    seconds: float = 0.0

    def to_line(self) -> str:
        """Return the result as a line of JSON; the names are those of its fields."""
        line: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        line["seconds"] = round(self.seconds, 6)
        return _json(line)


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """A row of the service's tables after the last event, and the values of its primary key."""

    table: str
    key: object
    row: object

    def to_line(self) -> str:
        """Return the row as a line of JSON; the names are those of its fields."""
        return _json({"table": self.table, "key": self.key, "row": self.row})


def _json(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, sort_keys=True)
