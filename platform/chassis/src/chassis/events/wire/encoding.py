"""Encodes an event's context as CloudEvents headers (binary mode) or as JSON (structured mode)."""

import json
import re
from datetime import UTC, datetime

from google.protobuf.message import Message

from chassis.events.wire.attributes import FIELDS, JSON, PLAIN_VALUE, RESERVED
from chassis.events.wire.context import EventContext
from chassis.events.wire.event_data import to_dict

__all__ = ["encode", "to_structured"]

_SEQUENCE_DIGITS = 16
_OPTIONAL = [
    (name, field) for name, field in FIELDS.items() if name not in ("id", "type", "source")
]
_NAME = re.compile(r"[a-z0-9]+")
_TO_ENCODE = re.compile(r"[^!#$&-~]+")
# CloudEvents forbids control characters, surrogates and noncharacters in a string.
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
    )
    + "]"
)


def encode(context: EventContext, datacontenttype: str | None = None) -> dict[str, str]:
    """Return the headers of an event in binary mode; its payload is the data, unchanged.

    `datacontenttype` overrides the context's.

    Raises:
        ValueError: an attribute is empty, or CloudEvents forbids its name or its value.
    """
    headers = {"ce-specversion": "1.0"}
    for name, value in _checked_attributes(context, datacontenttype):
        headers[f"ce-{name}"] = value if PLAIN_VALUE.fullmatch(value) else _percent_encode(value)
    return headers


def to_structured(context: EventContext, message: Message) -> bytes:
    """Return an event in the CloudEvents JSON format, its data as JSON with the .proto's names.

    Raises:
        ValueError: an attribute is empty, or CloudEvents forbids its name or its value.
    """
    event: dict[str, object] = {"specversion": "1.0"}
    event.update(_checked_attributes(context, JSON))
    event["data"] = to_dict(message)
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _checked_attributes(
    context: EventContext, datacontenttype: str | None
) -> list[tuple[str, str]]:
    """Return checked names and values of all attributes but specversion."""
    pairs = [("id", context.id), ("source", context.source), ("type", context.type)]
    if context.time is not None:
        pairs.append(("time", _format_time(context.time)))
    for name, field in _OPTIONAL:
        value = getattr(context, field)
        if name == "datacontenttype" and datacontenttype is not None:
            value = datacontenttype
        if value is not None:
            pairs.append((name, value))
    for name, value in pairs:
        if not value:
            raise ValueError(f"CloudEvents attribute {name!r} is empty")
    if context.sequence is not None:
        pairs.append(("sequence", f"{context.sequence:0{_SEQUENCE_DIGITS}d}"))
    for name, value in context.extensions.items():
        if not _NAME.fullmatch(name) or (name in RESERVED and name != "sequence"):
            raise ValueError(
                f"a CloudEvents extension cannot be named {name!r}: "
                "use lower-case letters and digits, and no name of an attribute"
            )
        pairs.append((name, value))
    for name, value in pairs:
        if not value.isascii() or not value.isprintable():
            _check_characters(name, value)
    return pairs


def _check_characters(name: str, value: str) -> None:
    """Raise ValueError if CloudEvents forbids a character of the value."""
    found = _FORBIDDEN.search(value)
    if found:
        raise ValueError(
            f"CloudEvents attribute {name!r} contains a forbidden character: U+{ord(found[0]):04X}"
        )


def _format_time(time: datetime) -> str:
    """Format a time in UTC as RFC 3339 (CloudEvents `time`)."""
    if time.tzinfo is not UTC:
        if time.tzinfo is None:
            raise ValueError("CloudEvents attribute 'time' has no time zone")
        time = time.astimezone(UTC)
    return f"{time.isoformat()[:-6]}Z"


def _percent_encode(value: str) -> str:
    """Encode the characters that a header of the NATS binding must not contain."""
    return _TO_ENCODE.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), value
    )
