"""Decodes CloudEvents messages of binary and structured mode."""

import base64
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from chassis.events.wire.attributes import (
    JSON,
    KNOWN,
    STRUCTURED,
    Undecodable,
    is_plain,
)
from chassis.events.wire.context import EventContext
from chassis.events.wire.event_data import is_json, media_type_of
from chassis.events.wire.event_headers import MAX_DIGITS
from chassis.events.wire.header_layout import layout_of, layout_of_members
from chassis.events.wire.json_data import JsonData, data_bytes, parse_object
from chassis.events.wire.rfc3339 import parse_time

__all__ = ["Received", "decode"]

_ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_KNOWN = len(KNOWN)


class Received(NamedTuple):
    """A decoded message. `datacontenttype` is the effective one."""

    context: EventContext
    datacontenttype: str
    data: bytes | JsonData


def decode(headers: Mapping[str, str] | None, payload: bytes) -> Received:
    """Return the event of a message in either mode. The case of header names is ignored.

    Raises:
        Undecodable: the message is not a valid CloudEvent. Nothing else is raised.
    """
    headers = headers or {}
    layout = layout_of(tuple(headers))
    values = (*headers.values(), "")
    content_type = values[layout.content_type]
    if content_type and _is_structured(content_type):
        return _decode_structured(payload)
    texts = layout.texts(values)
    if not is_plain("".join(texts)):
        texts = [_decode_header(name, text) for name, text in zip(layout.names, texts, strict=True)]
        _check_surrogates(layout.names, texts)
    context = _to_context(layout.names, texts)
    content_type = context.datacontenttype or content_type.strip() or JSON
    return tuple.__new__(Received, (context, content_type, payload))


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


@lru_cache(64)
def _is_structured(content_type: str) -> bool:
    """Whether the payload of a message with this content type is an event in JSON."""
    media_type = media_type_of(content_type)
    if media_type in (STRUCTURED, f"{STRUCTURED}+json"):
        return True
    if media_type.startswith(STRUCTURED):
        raise Undecodable(f"{media_type} is not supported: only single events in JSON are")
    return False


def _decode_structured(payload: bytes) -> Received:
    """Return the event of a payload in the CloudEvents JSON format."""
    event = parse_object(payload)
    layout = layout_of_members(tuple(event))
    texts = layout.texts((*event.values(), ""))
    try:
        is_ascii = "".join(texts).isascii()
    except TypeError:  # A value is not a string.
        given = {name: value for name, value in event.items() if value is not None}
        layout = layout_of_members(tuple(given))
        values = layout.texts((*given.values(), ""))
        texts = [_to_text(name, value) for name, value in zip(layout.names, values, strict=True)]
        is_ascii = False
    if not is_ascii:
        _check_surrogates(layout.names, texts)
    context = _to_context(layout.names, texts)
    content_type = context.datacontenttype or JSON
    data, encoded = event.get("data"), event.get("data_base64")
    if type(data) is dict and encoded is None and is_json(content_type):
        object = tuple.__new__(JsonData, (payload, event))
        return tuple.__new__(Received, (context, content_type, object))
    return Received(context, content_type, _to_bytes(data, encoded, content_type))


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
        if isinstance(data, str) and not is_json(content_type):
            return data.encode()
        return data_bytes(data)
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"data cannot be read: {error}") from error


def _to_context(names: Sequence[str], texts: Sequence[str]) -> EventContext:
    """Return the context of attributes: of the known ones, empty if absent, and of extensions."""
    (
        version,
        id,
        type,
        source,
        subject,
        time,
        content_type,
        schema,
        key,
        sequence,
        correlation,
        causation,
        traceparent,
        tracestate,
    ) = texts[:_KNOWN]
    if version != "1.0":
        raise Undecodable(
            f"specversion {version!r} is not 1.0"
            if version
            else "attribute 'specversion' is missing: the message is not a CloudEvent"
        )
    if not (id and type and source):
        missing = [n for n, v in (("id", id), ("type", type), ("source", source)) if not v]
        raise Undecodable(f"attribute {missing[0]!r} is missing or empty")
    number = None
    extensions: dict[str, str] = {}
    if len(texts) > _KNOWN:
        extensions = dict(zip(names[_KNOWN:], texts[_KNOWN:], strict=True))
    if sequence:
        if sequence.isascii() and sequence.isdigit() and len(sequence) <= MAX_DIGITS:
            number = int(sequence)
        else:
            extensions["sequence"] = sequence
    # The usual constructor takes twice as long.
    fields = (
        id,
        type,
        source,
        subject or None,
        parse_time(time) if time else None,
        content_type or None,
        schema or None,
        key or None,
        number,
        correlation or None,
        causation or None,
        traceparent or None,
        tracestate or None,
        extensions,
    )
    return tuple.__new__(EventContext, fields)


def _check_surrogates(names: Sequence[str], texts: Sequence[str]) -> None:
    """Raise Undecodable if a text contains half of a surrogate pair."""
    for name, text in zip(names, texts, strict=True):
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise Undecodable(f"attribute {name!r} contains half of a surrogate pair")
