"""An event's data: a message as protobuf or as JSON, and back."""

from typing import Any, Literal, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from chassis.events.wire.attributes import JSON, Undecodable

__all__ = ["EventFormat", "from_data", "is_json", "media_type_of", "to_data", "to_dict"]

EventFormat = Literal["protobuf", "json"]
M = TypeVar("M", bound=Message)

_PROTOBUF = "application/protobuf"
_PROTOBUF_TYPES = {_PROTOBUF, "application/x-protobuf", "application/vnd.google.protobuf"}


def to_data(message: Message, format: EventFormat) -> tuple[str, bytes]:
    """Return the content type and the bytes of a message as an event's data."""
    if format == "json":
        text = json_format.MessageToJson(
            message,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            indent=None,
            ensure_ascii=False,
        )
        return JSON, text.encode()
    return _PROTOBUF, message.SerializeToString()


def to_dict(message: Message) -> dict[str, Any]:
    """Return a message as a JSON object with the .proto's names."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


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
    message = message_type()
    try:
        text = data.decode()
        # The check is needed because the parser accepts any empty sequence as an empty message.
        if not text.lstrip().startswith("{") and not _is_well_known(message_type):
            raise ValueError("it is not an object")
        json_format.Parse(text, message, ignore_unknown_fields=True)
    except Exception as error:  # The parser raises many kinds of errors.
        name = message_type.DESCRIPTOR.full_name
        raise Undecodable(f"the data are not a valid {name} in JSON: {error}") from error
    return message


def _is_well_known(message_type: type[Message]) -> bool:
    """Whether the type's JSON may be another value than an object."""
    return message_type.DESCRIPTOR.file.package == "google.protobuf"


def media_type_of(content_type: str) -> str:
    """Return the content type in lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether data of this media type are JSON."""
    return media_type.endswith(("/json", "+json"))
