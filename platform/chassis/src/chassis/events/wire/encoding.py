"""Encodes an event's context as CloudEvents headers (binary mode) or as JSON (structured mode)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from google.protobuf.message import Message
from pydantic_core import to_json

from chassis.events.wire.attributes import JSON, PLAIN_VALUE, RESERVED
from chassis.events.wire.context import EventContext
from chassis.events.wire.event_headers import NUMBER, number_value
from chassis.events.wire.json_writing import to_json_value

__all__ = ["encode", "to_structured"]

# Numbers as two digits.
_TWO = [f"{number:02}" for number in range(60)]
# A service sends few sets of attributes.
_KEPT = 256
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
    headers = _headers(context, datacontenttype)
    if not _are_plain(headers):
        _check_characters(headers)
        headers = {name: _percent_encode(value) for name, value in headers.items()}
    return headers


def to_structured(context: EventContext, message: Message) -> bytes:
    """Return an event in the CloudEvents JSON format, its data as JSON with the .proto's names.

    Raises:
        ValueError: an attribute is empty, or CloudEvents forbids its name or its value.
    """
    attributes = _attributes(_headers(context, JSON))
    return b'%b,"data":%b}' % (attributes, to_json(to_json_value(message)))


def _attributes(headers: Mapping[str, str]) -> bytes:
    """Return the attributes of headers as a JSON object without its end."""
    if not _are_plain(headers):
        _check_characters(headers)
    elif "\\" not in "".join(headers.values()):
        return (_template(tuple(headers)) % tuple(headers.values())).encode()
    return to_json({name[3:]: value for name, value in headers.items()})[:-1]


@lru_cache(_KEPT)
def _template(headers: tuple[str, ...]) -> str:
    """Return the attributes of these headers with a placeholder for each value, without the end."""
    return "{" + ",".join([f'"{name[3:]}":"%s"' for name in headers])


def _headers(context: EventContext, datacontenttype: str | None) -> dict[str, str]:
    """Return the headers of all attributes, their values not yet percent-encoded."""
    id, type, source, subject, time, content_type, schema, key, sequence = context[:9]
    correlation, causation, traceparent, tracestate, extensions = context[9:]
    headers = {"ce-id": id, "ce-type": type, "ce-source": source}
    if subject is not None:
        headers["ce-subject"] = subject
    if datacontenttype is not None:
        headers["ce-datacontenttype"] = datacontenttype
    elif content_type is not None:
        headers["ce-datacontenttype"] = content_type
    if schema is not None:
        headers["ce-dataschema"] = schema
    if key is not None:
        headers["ce-partitionkey"] = key
    if correlation is not None:
        headers["ce-correlationid"] = correlation
    if causation is not None:
        headers["ce-causationid"] = causation
    if traceparent is not None:
        headers["ce-traceparent"] = traceparent
    if tracestate is not None:
        headers["ce-tracestate"] = tracestate
    headers["ce-specversion"] = "1.0"
    if time is not None:
        headers["ce-time"] = _format_time(time)
    if "" in headers.values():
        empty = next(name for name, value in headers.items() if not value)
        raise ValueError(f"CloudEvents attribute {empty[3:]!r} is empty")
    if sequence is not None:
        headers[NUMBER] = number_value(sequence)
    for name, value in extensions.items():
        if not _NAME.fullmatch(name) or (name in RESERVED and name != "sequence"):
            raise ValueError(
                f"a CloudEvents extension cannot be named {name!r}: "
                "use lower-case letters and digits, and no name of an attribute"
            )
        headers[f"ce-{name}"] = value
    return headers


def _are_plain(headers: Mapping[str, str]) -> bool:
    """Whether all values are allowed and need no percent-encoding."""
    return PLAIN_VALUE.fullmatch("".join(headers.values())) is not None


def _check_characters(headers: Mapping[str, str]) -> None:
    """Raise ValueError if CloudEvents forbids a character of a value."""
    for name, value in headers.items():
        found = _FORBIDDEN.search(value)
        if found:
            raise ValueError(
                f"CloudEvents attribute {name[3:]!r} contains a forbidden character: "
                f"U+{ord(found[0]):04X}"
            )


def _format_time(time: datetime) -> str:
    """Format a time in UTC as RFC 3339 (CloudEvents `time`)."""
    if time.tzinfo is not UTC:
        if time.tzinfo is None:
            raise ValueError("CloudEvents attribute 'time' has no time zone")
        time = time.astimezone(UTC)
    if not time.microsecond:
        return f"{time.isoformat()[:-6]}Z"
    # This takes a third of the time of isoformat.
    return (
        f"{time.year:04}-{_TWO[time.month]}-{_TWO[time.day]}"
        f"T{_TWO[time.hour]}:{_TWO[time.minute]}:{_TWO[time.second]}.{time.microsecond:06}Z"
    )


def _percent_encode(value: str) -> str:
    """Encode the characters that a header of the NATS binding must not contain."""
    return _TO_ENCODE.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), value
    )
