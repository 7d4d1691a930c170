"""The order in which the lines of several logs were written."""

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import accumulate

__all__ = ["Log", "in_order"]

# A line for developers begins with the local time of the day; one of JSON has a whole timestamp.
_TIME = re.compile(r"(\d\d:\d\d:\d\d(?:\.\d+)?) ")
_TIMESTAMP = re.compile(r'"timestamp": ?"([^"]+)"')
_TOLERANCE = timedelta(minutes=1)


@dataclass(frozen=True)
class Log:
    """Lines of a log in their order; `written_at` is when the last one was written (epoch)."""

    lines: Sequence[str]
    written_at: float


def in_order(logs: Mapping[str, Log]) -> Iterator[tuple[str, str]]:
    """Yield the lines of all logs by time, each with the name of its log.

    A line without a time, such as that of a traceback, follows the line before it.
    """
    merged = heapq.merge(
        *(
            [(moment, place, name, line) for moment, line in _dated(log)]
            for place, (name, log) in enumerate(logs.items())
        ),
        key=lambda each: each[:2],
    )
    return ((name, line) for _, _, name, line in merged)


def _dated(log: Log) -> Iterator[tuple[datetime, str]]:
    """Yield each line with its time, which is never before that of the line above it."""
    latest = datetime.fromtimestamp(log.written_at)
    found: list[datetime | None] = []
    for line in reversed(log.lines):
        moment = _moment(line, latest)
        latest = moment or latest
        found.append(moment)
    # A line without a time has the earliest one, so that the maximum is that of the line above.
    moments = accumulate((moment or datetime.min for moment in reversed(found)), max)
    return zip(moments, log.lines, strict=True)


def _moment(line: str, latest: datetime) -> datetime | None:
    """Return the time of a line that was written at `latest` or before; None if it has none."""
    try:
        if found := _TIME.match(line):
            moment = datetime.combine(latest, time.fromisoformat(found[1]))
            return moment if moment <= latest + _TOLERANCE else moment - timedelta(days=1)
        if found := _TIMESTAMP.search(line):
            return datetime.fromisoformat(found[1]).astimezone().replace(tzinfo=None)
    except ValueError:
        pass
    return None
