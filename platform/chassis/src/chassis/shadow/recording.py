"""A recording: events of streams in the order in which they were stored, and rows of tables.

It is a file of JSON lines, so that two versions of a service can replay the very same events.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BadRecording", "RecordedEvent", "Recording", "read_recording", "recording_lines"]

_FORMAT = 1
_ROWS_PER_LINE = 200


class BadRecording(ValueError):
    """The file is not a recording that this version reads; the text says why."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """A message of a stream. `time` is when the broker stored it, in epoch seconds.

    `foreign` is the subject by which handlers subscribe to events of a producer outside the
    platform, and empty for events of the platform.
    """

    stream: str
    sequence: int
    subject: str
    time: float
    headers: Mapping[str, str]
    data: bytes
    foreign: str = ""

    @property
    def place(self) -> str:
        """The event's place, for people: `orders#17`."""
        return f"{self.stream}#{self.sequence}"


@dataclass(slots=True)
class Recording:
    """The events to replay, the oldest first, and the rows of the tables that a shadow copies.

    A row maps the names of columns to values as JSON.
    """

    service: str
    events: list[RecordedEvent] = field(default_factory=list)
    rows: dict[str, list[dict[str, object]]] = field(default_factory=dict)


def recording_lines(recording: Recording) -> Iterator[str]:
    """Yield the lines of a recording's file, without line breaks."""
    yield json.dumps({"recording": _FORMAT, "service": recording.service})
    for table, rows in recording.rows.items():
        for start in range(0, len(rows), _ROWS_PER_LINE):
            yield json.dumps({"table": table, "rows": rows[start : start + _ROWS_PER_LINE]})
    for event in recording.events:
        yield json.dumps(
            {
                "stream": event.stream,
                "sequence": event.sequence,
                "subject": event.subject,
                "time": event.time,
                "headers": dict(event.headers),
                "data": base64.b64encode(event.data).decode(),
                "foreign": event.foreign,
            }
        )


def read_recording(lines: Iterable[str], service: str) -> Recording:
    """Read a recording of a service.

    Raises:
        BadRecording: the lines are not one, or that of another service.
    """
    recording: Recording | None = None
    for number, line in enumerate(lines, 1):
        try:
            read = json.loads(line)
            if recording is None:
                recording = _begin(read, service)
            elif "table" in read:
                recording.rows.setdefault(read["table"], []).extend(read["rows"])
            else:
                recording.events.append(_event_of(read))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, BadRecording):
                raise
            raise BadRecording(f"line {number} is not a line of a recording") from error
    if recording is None:
        raise BadRecording("it is empty")
    return recording


def _begin(first: Mapping[str, Any], service: str) -> Recording:
    """Return the recording that begins with this line; raise BadRecording if it cannot be read."""
    if first.get("recording") != _FORMAT:
        raise BadRecording("it is not a recording that this version of the chassis reads")
    if first["service"] != service:
        raise BadRecording(f"it is a recording of {first['service']}, not of {service}")
    return Recording(service)


def _event_of(read: Mapping[str, Any]) -> RecordedEvent:
    return RecordedEvent(
        stream=read["stream"],
        sequence=read["sequence"],
        subject=read["subject"],
        time=read["time"],
        headers=read["headers"],
        data=base64.b64decode(read["data"]),
        foreign=read["foreign"],
    )
