"""Output of the operator's verbs: rows as an aligned table for people, or as JSON for scripts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

__all__ = ["Row", "as_json", "counted", "details", "moment", "notes", "table"]

Row = Mapping[str, object]
"""A line of output: values by the names of their columns. None is shown as an empty cell.

A list is shown as its length. Each of its entries, a mapping with `subject`, `reason` and `help`,
becomes a note below the table.
"""

_GAP = "  "


def table(rows: Sequence[Row]) -> str:
    """Return rows below the names of their columns, at full width."""
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_text_of(row.get(name)) for name in names] for row in rows]
    lines = [[name.replace("_", " ") for name in names], *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(names))]
    right = [all(_is_number(row.get(name)) for row in rows) for name in names]
    return "\n".join(_aligned(line, widths, right) for line in lines)


def details(row: Row) -> str:
    """Return a row as lines of name and value; a mapping is indented below its name."""
    lines = []
    longest = max(map(len, row), default=0)
    for name, value in row.items():
        if isinstance(value, Mapping):
            lines.append(name.replace("_", " "))
            lines += [f"  {key}: {_text_of(entry)}" for key, entry in value.items()]
        else:
            lines.append(f"{name.replace('_', ' '):<{longest}}{_GAP}{_text_of(value)}".rstrip())
    return "\n".join(lines)


def notes(rows: Iterable[Row]) -> list[str]:
    """Return the notes on the rows: what is wrong with an entry, and the command that helps."""
    lines = []
    for row in rows:
        for value in row.values():
            if isinstance(value, (list, tuple)):
                for entry in value:
                    lines.append(f"{entry['subject']}: {entry['reason']}")
                    lines += [f"  -> {entry['help']}"] if entry.get("help") else []
    return lines


def as_json(rows: Sequence[Row]) -> str:
    """Return the rows as a JSON array of objects."""
    return json.dumps([dict(row) for row in rows], indent=1, ensure_ascii=False)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 event`, `2 events`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def moment(epoch_seconds: float | None) -> str | None:
    """Return a time as RFC 3339 in UTC, to the second."""
    if epoch_seconds is None:
        return None
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text_of(value: object) -> str:
    """Return a value as the text of a cell; a list is shown by its length."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return str(len(value))
    # Texts of an event may contain line breaks and a terminal's control sequences.
    return "".join(map(_printable, str(value)))


def _printable(character: str) -> str:
    """Return a character that is safe on a terminal, escaped if it is not printable."""
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, (int, float, list, tuple))


def _aligned(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    """Return a line of the table."""
    padded = [
        cell.rjust(widths[index]) if right[index] else cell.ljust(widths[index])
        for index, cell in enumerate(cells)
    ]
    return _GAP.join(padded).rstrip()
