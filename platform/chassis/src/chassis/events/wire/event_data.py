"""An event's data: a message as protobuf or as JSON, and back."""

from functools import lru_cache
from typing import Literal, TypeVar

from google.protobuf.message import DecodeError, Message

from chassis.events.wire.attributes import JSON, Undecodable
from chassis.events.wire.json_data import JsonData
from chassis.events.wire.json_reading import of_json
from chassis.events.wire.json_writing import to_json_text

__all__ = ["EventFormat", "from_data", "is_json", "media_type_of", "to_data"]

EventFormat = Literal["protobuf", "json"]
M = TypeVar("M", bound=Message)

_PROTOBUF = "application/protobuf"
_PROTOBUF_TYPES = {_PROTOBUF, "application/x-protobuf", "application/vnd.google.protobuf"}


def to_data(message: Message, format: EventFormat) -> tuple[str, bytes]:
    """Return the content type and the bytes of a message as an event's data."""
    if format == "json":
        return JSON, to_json_text(message).encode()
    return _PROTOBUF, message.SerializeToString()


def from_data(message_type: type[M], datacontenttype: str, data: bytes | JsonData) -> M:
    """Return the message in an event's data, ignoring unknown fields.

    Raises:
        Undecodable: the data are not such a message. Nothing else is raised.
    """
    kind = _kind_of(datacontenttype)
    if kind == "protobuf":
        try:
            return message_type.FromString(data if isinstance(data, bytes) else bytes(data))
        except DecodeError as error:
            name = message_type.DESCRIPTOR.full_name
            raise Undecodable(f"the data are not a valid {name}") from error
    if kind is None:
        raise Undecodable(f"data of type {datacontenttype!r} cannot be read")
    try:
        return of_json(message_type, data)
    except Exception as error:  # The parser raises many kinds of errors.
        name = message_type.DESCRIPTOR.full_name
        raise Undecodable(f"the data are not a valid {name} in JSON: {error}") from error


@lru_cache(64)
def _kind_of(content_type: str) -> EventFormat | None:
    """Return the format of data with this content type, None if it cannot be read."""
    if media_type_of(content_type) in _PROTOBUF_TYPES:
        return "protobuf"
    return "json" if is_json(content_type) else None


@lru_cache(64)
def is_json(content_type: str) -> bool:
    """Whether data with this content type are JSON."""
    return media_type_of(content_type).endswith(("/json", "+json"))


def media_type_of(content_type: str) -> str:
    """Return the content type in lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()
