"""Masks for values that differ in each run by their nature: new ids, and times of the run.

An id or a time that was part of what is replayed stays as it is. A new id gets a name by the event
whose handler made it, so that two runs give it the same name, also after they have differed.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

__all__ = ["Masks"]

_MASKED = re.compile(
    r"(?P<id>[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})"
    r"|(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)"
)
# Whole seconds and 5-second steps are not at the limit between two steps.
_STEP_SECONDS = 5
_HALF_STEP_SECONDS = 2.5


class Masks:
    """The ids and times that are known, and the names of new ids, in one run from `begin` on."""

    def __init__(self, begin: datetime) -> None:
        self._begin = begin
        self._known_ids: set[str] = set()
        self._known_times: set[datetime] = set()
        self._names: dict[str, str] = {}
        self._new_ids: dict[str, int] = {}

    def learn(self, text: str) -> None:
        """Note the ids and times in a text that is replayed."""
        for found in _MASKED.finditer(text):
            if found["id"]:
                self._known_ids.add(found["id"].lower())
            elif (moment := _moment_of(found["time"])) is not None:
                self._known_times.add(moment)

    def name(self, id: str, name: str) -> None:
        """Give a new id this name."""
        self._names.setdefault(id.lower(), name)

    def masked(self, value: object, origin: str, at: datetime | None = None) -> object:
        """Return JSON with masks in its texts.

        `origin` names what the value is of. Times of the run are shown relative to `at`, to five
        seconds; without it they are not told apart.
        """
        if isinstance(value, str):
            return self._masked_text(value, origin, at)
        if isinstance(value, Mapping):
            return {
                str(self.masked(name, origin, at)): self.masked(inner, origin, at)
                for name, inner in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.masked(inner, origin, at) for inner in value]
        return value

    def _masked_text(self, text: str, origin: str, at: datetime | None) -> str:
        """Return a text with masks."""

        def replacement(found: re.Match[str]) -> str:
            if found["id"]:
                return self._masked_id(found["id"], origin)
            return self._masked_time(found["time"], at)

        return _MASKED.sub(replacement, text) if len(text) >= len("2000-01-01 00:00:00") else text

    def _masked_id(self, id: str, origin: str) -> str:
        lower = id.lower()
        if lower in self._known_ids:
            return id
        if lower not in self._names:
            number = self._new_ids[origin] = self._new_ids.get(origin, 0) + 1
            self._names[lower] = f"new id {number} of {origin}"
        return f"<{self._names[lower]}>"

    def _masked_time(self, text: str, at: datetime | None) -> str:
        moment = _moment_of(text)
        if moment is None or moment in self._known_times or moment < self._begin:
            return text
        if at is None:
            return "<a time of the run>"
        seconds = (moment - at).total_seconds()
        steps = int((seconds + _HALF_STEP_SECONDS) // _STEP_SECONDS)
        return f"<now + {steps * _STEP_SECONDS} s>" if steps > 0 else "<now>"


def _moment_of(text: str) -> datetime | None:
    """Return the time of a text, which is in UTC if it has no offset; None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
