"""CloudEvents over NATS: the protocol binding, strict in what it sends, liberal in what it reads.

Binary mode puts every attribute into a `ce-` header, percent-encoded, and the data into the
payload. Structured mode, told by the header Content-Type, has all of it in the payload as JSON.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NoReturn, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from chassis.events.wire.context import EventContext

__all__ = [
    "EventFormat",
    "Received",
    "Undecodable",
    "decode",
    "encode",
    "from_data",
    "to_data",
    "to_structured",
]

EventFormat = Literal["protobuf", "json"]
M = TypeVar("M", bound=Message)

PROTOBUF = "application/protobuf"
JSON = "application/json"
_STRUCTURED = "application/cloudevents"
_PROTOBUF_TYPES = {PROTOBUF, "application/x-protobuf", "application/vnd.google.protobuf"}
_SEQUENCE_DIGITS = 16

# Attributes that have a field of their own, but for time and sequence, which are no text.
_FIELDS = {
    "id": "id",
    "type": "type",
    "source": "source",
    "subject": "subject",
    "datacontenttype": "datacontenttype",
    "dataschema": "dataschema",
    "partitionkey": "partition_key",
    "correlationid": "correlation_id",
    "causationid": "causation_id",
    "traceparent": "traceparent",
    "tracestate": "tracestate",
}
_OPTIONAL = [
    (name, field) for name, field in _FIELDS.items() if name not in ("id", "type", "source")
]
_RESERVED = {*_FIELDS, "specversion", "time", "sequence", "data"}
_ATTRIBUTES = {f"ce-{name}": name for name in _RESERVED - {"data"}}

_NAME = re.compile(r"[a-z0-9]+")
_PLAIN = re.compile(r"[!#$&-~]*")
_TO_ENCODE = re.compile(r"[^!#$&-~]+")
# What CloudEvents forbids in a string: control characters, surrogates, noncharacters.
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
    )
    + "]"
)
_ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Undecodable(ValueError):
    """A message is no CloudEvent, or its data is not what its type says; the reason says why."""


@dataclass(frozen=True, slots=True)
class Received:
    """A decoded message. `datacontenttype` is the effective one."""

    context: EventContext
    datacontenttype: str
    data: bytes


def encode(context: EventContext, datacontenttype: str | None = None) -> dict[str, str]:
    """The headers of an event in binary mode; its payload is the data as it is.

    `datacontenttype` overrides the context's.

    Raises:
        ValueError: CloudEvents allows no such event.
    """
    headers = {"ce-specversion": "1.0"}
    for name, value in _attributes(context, datacontenttype):
        headers[f"ce-{name}"] = value if _PLAIN.fullmatch(value) else _percent_encoded(value)
    return headers


def to_structured(context: EventContext, message: Message) -> bytes:
    """An event in the CloudEvents JSON format, its data as proto JSON with the .proto's names.

    Raises:
        ValueError: CloudEvents allows no such event.
    """
    event: dict[str, object] = {"specversion": "1.0"}
    event.update(_attributes(context, JSON))
    event["data"] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def decode(headers: Mapping[str, str] | None, payload: bytes) -> Received:
    """The event of a message in either mode, header names in any case.

    Raises:
        Undecodable: for whatever is wrong with it, and nothing else.
    """
    texts: dict[str, str] = {}
    content_type = ""
    for header, value in (headers or {}).items():
        name = _ATTRIBUTES.get(header)
        if name is None:
            lower = header.lower()
            if lower == "content-type":
                content_type = value.strip()
            if not lower.startswith("ce-") or lower in ("ce-", "ce-data"):
                continue
            name = lower[3:]
        texts[name] = value
    if content_type[: len(_STRUCTURED)].lower() == _STRUCTURED:
        return _decode_structured(content_type, payload)
    context = _context(
        {
            name: value if _PLAIN.fullmatch(value) else _decoded(name, value)
            for name, value in texts.items()
        }
    )
    return Received(context, context.datacontenttype or content_type or JSON, payload)


def to_data(message: Message, format: EventFormat) -> tuple[str, bytes]:
    """The content type and the bytes of a message as an event's data."""
    if format == "json":
        text = json_format.MessageToJson(
            message,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            indent=None,
            ensure_ascii=False,
        )
        return JSON, text.encode()
    return PROTOBUF, message.SerializeToString()


def from_data(message_type: type[M], datacontenttype: str, data: bytes) -> M:
    """The message in an event's data. Unknown fields are no error.

    Raises:
        Undecodable: for whatever is wrong with it, and nothing else.
    """
    if datacontenttype == PROTOBUF or _media_type(datacontenttype) in _PROTOBUF_TYPES:
        try:
            return message_type.FromString(data)
        except DecodeError as error:
            raise Undecodable(f"the data is no {message_type.DESCRIPTOR.full_name}") from error
    if not _is_json(_media_type(datacontenttype)):
        raise Undecodable(f"data of type {datacontenttype!r} cannot be read")
    message = message_type()
    try:
        text = data.decode()
        # The parser takes every empty sequence for an empty message.
        if not text.lstrip().startswith("{") and not _is_well_known(message_type):
            raise ValueError("it is no object")
        json_format.Parse(text, message, ignore_unknown_fields=True)
    except Exception as error:  # The parser lets many kinds through.
        raise Undecodable(
            f"the data is no {message_type.DESCRIPTOR.full_name} in JSON: {error}"
        ) from error
    return message


def _attributes(context: EventContext, datacontenttype: str | None) -> list[tuple[str, str]]:
    """Names and values, checked; specversion is left to the caller."""
    pairs = [("id", context.id), ("source", context.source), ("type", context.type)]
    if context.time is not None:
        pairs.append(("time", _timestamp(context.time)))
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
        if not _NAME.fullmatch(name) or (name in _RESERVED and name != "sequence"):
            raise ValueError(
                f"no CloudEvents extension can be named {name!r}: "
                "lower-case letters and digits, and no attribute's name"
            )
        pairs.append((name, value))
    for name, value in pairs:
        if not value.isascii() or not value.isprintable():
            _check_text(name, value)
    return pairs


def _check_text(name: str, value: str) -> None:
    found = _FORBIDDEN.search(value)
    if found:
        raise ValueError(f"CloudEvents attribute {name!r} holds U+{ord(found[0]):04X}")


def _timestamp(time: datetime) -> str:
    if time.tzinfo is not UTC:
        if time.tzinfo is None:
            raise ValueError("CloudEvents attribute 'time' has no time zone")
        time = time.astimezone(UTC)
    return f"{time.isoformat()[:-6]}Z"


def _percent_encoded(value: str) -> str:
    return _TO_ENCODE.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), value
    )


def _decoded(name: str, value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    if "\ufffd" in value:
        raise Undecodable(f"header ce-{name} is no UTF-8")
    if "%" in value:
        if _STRAY_PERCENT.search(value):
            raise Undecodable(f"header ce-{name} has a % that encodes nothing")
        try:
            value = _ENCODED.sub(
                lambda match: bytes.fromhex(match[0].replace("%", "")).decode(), value
            )
        except UnicodeDecodeError:
            raise Undecodable(f"header ce-{name} is no percent-encoded UTF-8") from None
    return value


def _decode_structured(content_type: str, payload: bytes) -> Received:
    media_type = _media_type(content_type)
    if media_type not in (_STRUCTURED, f"{_STRUCTURED}+json"):
        raise Undecodable(f"{media_type} cannot be read: JSON and single events only")
    try:
        event = json.loads(payload.decode("utf-8-sig"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"the payload is no JSON: {error}") from error
    if not isinstance(event, dict):
        raise Undecodable("the payload is no JSON object")
    data, encoded = event.pop("data", None), event.pop("data_base64", None)
    context = _context(
        {name: _text(name, value) for name, value in event.items() if value is not None}
    )
    content_type = context.datacontenttype or JSON
    return Received(context, content_type, _data(data, encoded, content_type))


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _text(name: str, value: object) -> str:
    """An attribute's canonical string."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise Undecodable(f"attribute {name!r} is no string, integer or boolean")


def _data(data: object, encoded: object, content_type: str) -> bytes:
    if encoded is not None:
        if data is not None or not isinstance(encoded, str):
            raise Undecodable("data_base64 is no string, or stands beside data")
        try:
            return base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise Undecodable(f"data_base64 is no base64: {error}") from error
    if data is None:
        return b""
    try:
        if isinstance(data, str) and not _is_json(_media_type(content_type)):
            return data.encode()
        return json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"data cannot be read: {error}") from error


def _context(attributes: dict[str, str]) -> EventContext:
    version = attributes.pop("specversion", None)
    if version != "1.0":
        raise Undecodable(
            "attribute 'specversion' is missing: no CloudEvent"
            if version is None
            else f"specversion {version!r} is not 1.0"
        )
    for name, value in attributes.items():
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise Undecodable(f"attribute {name!r} holds half a character")
    pop = attributes.pop
    id, type, source = pop("id", None), pop("type", None), pop("source", None)
    if not id or not type or not source:
        missing = [n for n, v in (("id", id), ("type", type), ("source", source)) if not v]
        raise Undecodable(f"attribute {missing[0]!r} is missing or empty")
    time = pop("time", None)
    number = attributes.get("sequence", "")
    sequence = None
    if number.isascii() and number.isdigit() and len(number) <= 18:
        sequence = int(number)
        del attributes["sequence"]
    return EventContext(
        id,
        type,
        source,
        pop("subject", None) or None,
        _time(time) if time else None,
        pop("datacontenttype", None) or None,
        pop("dataschema", None) or None,
        pop("partitionkey", None) or None,
        sequence,
        pop("correlationid", None) or None,
        pop("causationid", None) or None,
        pop("traceparent", None) or None,
        pop("tracestate", None) or None,
        attributes,
    )


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        try:
            # A leap second, and the letters of RFC 3339 in lower case.
            time = datetime.fromisoformat(text.upper().replace(":60", ":59"))
        except ValueError:
            raise Undecodable(f"time {text!r} is no RFC 3339 time") from None
    if time.tzinfo is None:
        raise Undecodable(f"time {text!r} has no offset")
    if time.tzinfo is UTC:
        return time
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise Undecodable(f"time {text!r} is out of range") from None


def _is_well_known(message_type: type[Message]) -> bool:
    """Whether its JSON may be another value than an object."""
    return message_type.DESCRIPTOR.file.package == "google.protobuf"


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    return media_type.endswith(("/json", "+json"))
