"""Encodes an event's context as CloudEvents headers (binary mode) or as JSON (structured mode)."""

import re
from collections.abc import Mapping

import orjson
from google.protobuf.message import Message

from chassis.events.wire.attribute_text import AttributeText, join_plain
from chassis.events.wire.attributes import JSON, RESERVED, is_plain
from chassis.events.wire.context import EventContext
from chassis.events.wire.event_headers import number_value
from chassis.events.wire.json_writing import to_json_text
from chassis.events.wire.rfc3339 import format_time

__all__ = ["encode", "to_structured"]

_members = AttributeText()
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
    if not is_plain("".join(headers.values())):
        _check_characters(headers)
        headers = {name: _percent_encode(value) for name, value in headers.items()}
    return headers


def to_structured(context: EventContext, message: Message) -> bytes:
    """Return an event in the CloudEvents JSON format, its data as JSON with the .proto's names.

    Raises:
        ValueError: an attribute is empty, or CloudEvents forbids its name or its value.
    """
    attributes = join_plain(_members.parts(context, JSON))
    if attributes is None:
        headers = _headers(context, JSON)
        _check_characters(headers)
        text = orjson.dumps({name[3:]: value for name, value in headers.items()}).decode()
        attributes = text.removesuffix('"}')
    return f'{attributes}","data":{to_json_text(message)}}}'.encode()


def _headers(context: EventContext, datacontenttype: str | None) -> dict[str, str]:
    """Return the headers of all attributes, their values not yet percent-encoded."""
    id, type, source, subject, time, content_type, schema, key, sequence = context[:9]
    correlation, causation, traceparent, tracestate, extensions = context[9:]
    attributes = {
        "specversion": "1.0",
        "type": type,
        "source": source,
        "datacontenttype": content_type if datacontenttype is None else datacontenttype,
        "id": id,
        "time": None if time is None else format_time(time),
        "subject": subject,
        "dataschema": schema,
        "partitionkey": key,
        "sequence": None if sequence is None else number_value(sequence),
        "correlationid": correlation,
        "causationid": causation,
        "traceparent": traceparent,
        "tracestate": tracestate,
    }
    headers = {f"ce-{name}": value for name, value in attributes.items() if value is not None}
    if "" in headers.values():
        empty = next(name for name, value in attributes.items() if value == "")
        raise ValueError(f"CloudEvents attribute {empty!r} is empty")
    for name, value in extensions.items():
        if not _NAME.fullmatch(name) or (name in RESERVED and name != "sequence"):
            raise ValueError(
                f"a CloudEvents extension cannot be named {name!r}: "
                "use lower-case letters and digits, and no name of an attribute"
            )
        headers[f"ce-{name}"] = value
    return headers


def _check_characters(headers: Mapping[str, str]) -> None:
    """Raise ValueError if CloudEvents forbids a character of a value."""
    for name, value in headers.items():
        found = _FORBIDDEN.search(value)
        if found:
            raise ValueError(
                f"CloudEvents attribute {name[3:]!r} contains a forbidden character: "
                f"U+{ord(found[0]):04X}"
            )


def _percent_encode(value: str) -> str:
    """Encode the characters that a header of the NATS binding must not contain."""
    return _TO_ENCODE.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), value
    )
