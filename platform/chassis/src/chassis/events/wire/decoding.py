"""Decodes CloudEvents messages of binary and structured mode."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

from chassis.events.wire.attributes import JSON, PLAIN_VALUE, RESERVED, STRUCTURED, Undecodable
from chassis.events.wire.context import EventContext
from chassis.events.wire.event_data import is_json, media_type_of

__all__ = ["Received", "decode"]

_ATTRIBUTES = {f"ce-{name}": name for name in RESERVED - {"data"}}
_ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SEQUENCE_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Received:
    """A decoded message. `datacontenttype` is the effective one."""

    context: EventContext
    datacontenttype: str
    data: bytes


def decode(headers: Mapping[str, str] | None, payload: bytes) -> Received:
    """Return the event of a message in either mode. The case of header names is ignored.

    Raises:
        Undecodable: the message is not a valid CloudEvent. Nothing else is raised.
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
    if content_type[: len(STRUCTURED)].lower() == STRUCTURED:
        return _decode_structured(content_type, payload)
    context = _to_context(
        {
            name: value if PLAIN_VALUE.fullmatch(value) else _decode_header(name, value)
            for name, value in texts.items()
        }
    )
    return Received(context, context.datacontenttype or content_type or JSON, payload)


def _decode_header(name: str, value: str) -> str:
    """Return a header's value without quotes and percent-encoding."""
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    if "\ufffd" in value:
        raise Undecodable(f"header ce-{name} is not valid UTF-8")
    if "%" in value:
        if _STRAY_PERCENT.search(value):
            raise Undecodable(f"header ce-{name} has a % that encodes nothing")
        try:
            value = _ENCODED.sub(
                lambda match: bytes.fromhex(match[0].replace("%", "")).decode(), value
            )
        except UnicodeDecodeError:
            raise Undecodable(f"header ce-{name} is not percent-encoded UTF-8") from None
    return value


def _decode_structured(content_type: str, payload: bytes) -> Received:
    """Return the event of a payload in the CloudEvents JSON format."""
    media_type = media_type_of(content_type)
    if media_type not in (STRUCTURED, f"{STRUCTURED}+json"):
        raise Undecodable(f"{media_type} is not supported: only single events in JSON are")
    try:
        event = json.loads(payload.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"the payload is not valid JSON: {error}") from error
    if not isinstance(event, dict):
        raise Undecodable("the payload is not a JSON object")
    data, encoded = event.pop("data", None), event.pop("data_base64", None)
    context = _to_context(
        {name: _to_text(name, value) for name, value in event.items() if value is not None}
    )
    content_type = context.datacontenttype or JSON
    return Received(context, content_type, _to_bytes(data, encoded, content_type))


def _refuse_constant(text: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads and JSON forbids."""
    raise ValueError(f"{text} is not a number")


def _to_text(name: str, value: object) -> str:
    """Return an attribute's canonical string."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise Undecodable(f"attribute {name!r} is not a string, integer or boolean")


def _to_bytes(data: object, encoded: object, content_type: str) -> bytes:
    """Return the bytes of the members `data` and `data_base64` (`encoded`)."""
    if encoded is not None:
        if data is not None or not isinstance(encoded, str):
            raise Undecodable("data_base64 is not a string, or data is set as well")
        try:
            return base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise Undecodable(f"data_base64 is not valid base64: {error}") from error
    if data is None:
        return b""
    try:
        if isinstance(data, str) and not is_json(media_type_of(content_type)):
            return data.encode()
        return json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"data cannot be read: {error}") from error


def _to_context(attributes: dict[str, str]) -> EventContext:
    """Return the context of attributes, whose texts are checked here."""
    version = attributes.pop("specversion", None)
    if version != "1.0":
        raise Undecodable(
            "attribute 'specversion' is missing: the message is not a CloudEvent"
            if version is None
            else f"specversion {version!r} is not 1.0"
        )
    for name, value in attributes.items():
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise Undecodable(f"attribute {name!r} contains half of a surrogate pair")
    pop = attributes.pop
    id, type, source = pop("id", None), pop("type", None), pop("source", None)
    if not id or not type or not source:
        missing = [n for n, v in (("id", id), ("type", type), ("source", source)) if not v]
        raise Undecodable(f"attribute {missing[0]!r} is missing or empty")
    time = pop("time", None)
    number = attributes.get("sequence", "")
    sequence = None
    if number.isascii() and number.isdigit() and len(number) <= _SEQUENCE_MAX_DIGITS:
        sequence = int(number)
        del attributes["sequence"]
    return EventContext(
        id,
        type,
        source,
        pop("subject", None) or None,
        _parse_time(time) if time else None,
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


def _parse_time(text: str) -> datetime:
    """Return an RFC 3339 time in UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        try:
            # RFC 3339 allows leap seconds and lower-case letters; fromisoformat does not.
            time = datetime.fromisoformat(text.upper().replace(":60", ":59"))
        except ValueError:
            raise Undecodable(f"time {text!r} is not an RFC 3339 time") from None
    if time.tzinfo is None:
        raise Undecodable(f"time {text!r} has no offset")
    if time.tzinfo is UTC:
        return time
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise Undecodable(f"time {text!r} is out of range") from None
