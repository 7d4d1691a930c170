"""An event's data: a message as protobuf or as JSON, and back."""

from typing import Literal, TypeVar

from google.protobuf.message import DecodeError, Message
from pydantic_core import to_json

from chassis.events.wire.attributes import JSON, Undecodable
from chassis.events.wire.json_reading import of_json
from chassis.events.wire.json_writing import to_json_value

__all__ = ["EventFormat", "from_data", "is_json", "media_type_of", "to_data"]

EventFormat = Literal["protobuf", "json"]
M = TypeVar("M", bound=Message)

_PROTOBUF = "application/protobuf"
_PROTOBUF_TYPES = {_PROTOBUF, "application/x-protobuf", "application/vnd.google.protobuf"}


def to_data(message: Message, format: EventFormat) -> tuple[str, bytes]:
    """Return the content type and the bytes of a message as an event's data."""
    if format == "json":
        return JSON, to_json(to_json_value(message))
    return _PROTOBUF, message.SerializeToString()


def from_data(message_type: type[M], datacontenttype: str, data: bytes) -> M:
    """Return the message in an event's data, ignoring unknown fields.

    Raises:
        Undecodable: the data are not such a message. Nothing else is raised.
    """
    if datacontenttype == _PROTOBUF or media_type_of(datacontenttype) in _PROTOBUF_TYPES:
        try:
            return message_type.FromString(data)
        except DecodeError as error:
            name = message_type.DESCRIPTOR.full_name
            raise Undecodable(f"the data are not a valid {name}") from error
    if not is_json(media_type_of(datacontenttype)):
        raise Undecodable(f"data of type {datacontenttype!r} cannot be read")
    try:
        return of_json(message_type, data)
    except Exception as error:  # The parser raises many kinds of errors.
        name = message_type.DESCRIPTOR.full_name
        raise Undecodable(f"the data are not a valid {name} in JSON: {error}") from error


def media_type_of(content_type: str) -> str:
    """Return the content type in lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether data of this media type are JSON."""
    return media_type.endswith(("/json", "+json"))
