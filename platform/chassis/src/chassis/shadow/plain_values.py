"""Values of database columns as JSON, and back."""

import base64
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

__all__ = ["from_plain", "shown", "to_plain"]

_KIND, _TEXT = "kind", "text"
_READERS: dict[str, Any] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "timedelta": lambda text: timedelta(seconds=float(text)),
    "Decimal": Decimal,
    "UUID": UUID,
    "bytes": base64.b64decode,
    "json": None,
}


def to_plain(value: object) -> object:
    """Return a column's value as JSON from which `from_plain` makes an equal one.

    Raises:
        TypeError: JSON has no form for the value.
    """
    if isinstance(value, Enum):
        return to_plain(value.value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, dict)):
        return {_KIND: "json", _TEXT: value}
    if isinstance(value, bytes):
        return {_KIND: "bytes", _TEXT: base64.b64encode(value).decode()}
    if isinstance(value, timedelta):
        return {_KIND: "timedelta", _TEXT: repr(value.total_seconds())}
    for kind in (datetime, date, Decimal, UUID):
        if isinstance(value, kind):
            text = value.isoformat() if isinstance(value, date) else str(value)
            return {_KIND: kind.__name__, _TEXT: text}
    raise TypeError(f"a value of type {type(value).__name__} cannot be recorded")


def from_plain(plain: object) -> object:
    """Return the value that `to_plain` was given; an enum's member is its value."""
    if not isinstance(plain, dict):
        return plain
    read = _READERS[plain[_KIND]]
    return plain[_TEXT] if read is None else read(plain[_TEXT])


def shown(value: object) -> object:
    """Return a column's value as JSON for people to compare; times are in UTC."""
    if isinstance(value, Enum):
        return shown(value.value)
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value
        return moment.astimezone(UTC).isoformat()
    if value is None or isinstance(value, (str, bool, int, float, list, dict)):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
