"""The headers that the platform adds to those of CloudEvents."""

import json
import re
from collections.abc import Mapping

from chassis.database.tables import LONGEST_NAME

__all__ = [
    "COPIED_FROM",
    "GENERATION",
    "LINEAGE",
    "MAX_DIGITS",
    "NUMBER",
    "RANK",
    "STORED_AT",
    "event_id",
    "generation",
    "header",
    "integer",
    "is_copy",
    "is_delivered_copy",
    "lineage",
    "number_value",
    "relay_lines",
    "to_lines",
]

# The CloudEvents sequence extension, which counts within the subject.
NUMBER = "ce-sequence"
GENERATION = "slipway-generation"
# The earlier generations, the latest first; absent if there are none.
LINEAGE = "slipway-lineage"
RANK = "slipway-rank"
# The sequence at which the stream has to store the event.
STORED_AT = "slipway-stored-at"
# The broker sets this header in its answer to a direct get.
COPIED_FROM = "Nats-Stream"
# The reply subject of a message that a consumer delivers begins with this prefix.
_ACKNOWLEDGE = "$JS.ACK."
_GENERATION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER_FORMAT = "%016d"
MAX_DIGITS = 18
"""Maximum digits of a number that is read: each such number fits into a BIGINT."""


def number_value(number: int) -> str:
    """Return a number as the sequence extension has it: strings that sort like their numbers."""
    return _NUMBER_FORMAT % number


def header(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header, whatever the case of its name; None if it is missing."""
    value = headers.get(name)
    if value is None:
        value = next((v for k, v in headers.items() if k.lower() == name), None)
    return value


def event_id(headers: Mapping[str, str]) -> str:
    """Return the event's id as it is on the wire; empty if it is missing or cannot be stored."""
    id = header(headers, "ce-id") or ""
    return id if len(id) <= LONGEST_NAME and id.isprintable() else ""


def generation(headers: Mapping[str, str]) -> str:
    """Return the generation of the counters that numbered the event; empty if no relay sent it."""
    value = header(headers, GENERATION) or ""
    return value if _GENERATION.fullmatch(value) else ""


def lineage(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the generations before that of the event, the latest first."""
    # The case of the name is the one in which relays write it. Most events have no such header, and
    # looking for the name in any case would read all their headers.
    named = (headers.get(LINEAGE) or "").split()
    return tuple(name for name in named if _GENERATION.fullmatch(name))


def integer(headers: Mapping[str, str], name: str) -> int:
    """Return a header's value; 0 if it is missing or not a number, as in other messages."""
    value = header(headers, name) or ""
    valid = value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS
    return int(value) if valid else 0


def is_copy(headers: Mapping[str, str], sequence: int) -> bool:
    """Whether the message at this sequence of a stream is a copy of one that is stored elsewhere.

    A reader of a stream may name another stream's subject as the reply subject; the broker then
    stores the message there, with its headers. Such a message is not an event. Events of older
    relays, and events that are sent again to a consumer, name no sequence.
    """
    # The case of both names is the one in which relays and the broker write them, as in `lineage`.
    place = headers.get(STORED_AT)
    return COPIED_FROM in headers or (place is not None and place != str(sequence))


def is_delivered_copy(headers: Mapping[str, str], reply: str) -> bool:
    """Whether the broker sent the message from a stream, instead of a client that published it."""
    return COPIED_FROM in headers or reply.startswith(_ACKNOWLEDGE)


def relay_lines(generation: str, lineage: str, *, is_stored: bool = False) -> bytes:
    """Return the header lines that a relay adds, with slots for an event's number and rank.

    With `is_stored` a third slot is for the event's sequence in the stream. An event that is sent
    again to a consumer has none.
    """
    earlier = f"{LINEAGE}: {lineage}\r\n" if lineage else ""
    place = f"{STORED_AT}: %d\r\n" if is_stored else ""
    number = f"{NUMBER}: {_NUMBER_FORMAT}\r\n"
    return f"{number}{GENERATION}: {generation}\r\n{earlier}{RANK}: %d\r\n{place}".encode()


def to_lines(headers: bytes) -> bytes:
    """Return an event's headers in the outbox, a JSON object of texts, as header lines.

    It takes a fifth of the time that parsing takes.

    Each quote begins or ends a text if nothing is escaped. So the first of the two replacements
    finds only the ends of names, and the second only the ends of values. A quote remains if the
    object is written in another form.
    """
    if b"\\" not in headers:
        lines = headers[2:-2].replace(b'": "', b": ").replace(b'", "', b"\r\n")
        if lines and b'"' not in lines:
            return lines + b"\r\n"
    parsed: dict[str, str] = json.loads(headers)
    return "".join([f"{name}: {value}\r\n" for name, value in parsed.items()]).encode()
