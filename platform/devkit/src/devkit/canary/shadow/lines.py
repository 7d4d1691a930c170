"""The lines that a version's shadow writes: one for each event and handler, one for each row."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Line", "Written", "read_lines"]

Line = Mapping[str, Any]
"""A line of JSON, as `python -m <service> events shadow` writes it."""


@dataclass(slots=True)
class Written:
    """The lines of a version: those of events by their place in a stream, and rows by their key.

    A place has a line for each of its handlers, in the order in which they ran.
    """

    events: dict[str, list[Line]] = field(default_factory=dict)
    rows: dict[tuple[str, str], Line] = field(default_factory=dict)


def read_lines(lines: Iterable[str]) -> Written:
    """Read a version's lines, ignoring those of its log and its messages."""
    written = Written()
    for text in lines:
        line = _parsed(text)
        if "outcome" in line and "place" in line:
            written.events.setdefault(line["place"], []).append(line)
        elif "table" in line and "row" in line:
            key = json.dumps(line["key"], sort_keys=True)
            written.rows[line["table"], key] = line
    return written


def _parsed(text: str) -> dict[str, Any]:
    """Return a JSON object; an empty one for any other text."""
    try:
        line = json.loads(text) if text.startswith("{") else {}
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
