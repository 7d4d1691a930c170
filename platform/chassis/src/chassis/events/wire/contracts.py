"""Event type, partition key and subjects of a message, from its contract."""

import re

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from slipway.v1 import partition_key

__all__ = [
    "ContractError",
    "event_type",
    "is_of_stream",
    "lane_of_subject",
    "partition_key_field",
    "source_service",
    "stream_of",
    "subject_of",
    "subjects_of",
    "type_of_subject",
]

_STREAM_NAME = re.compile(r"[A-Za-z0-9_-]+")


class ContractError(TypeError):
    """A message cannot be an event because of its .proto file; the text says what to change."""


def event_type(message: type[Message]) -> str:
    """Return the CloudEvents type: the message's full name, as `shop.orders.v1.OrderPlaced`."""
    return message.DESCRIPTOR.full_name


def partition_key_field(message: type[Message]) -> str:
    """Return the name of the field whose value is the partition key.

    Raises:
        ContractError: the option is missing, or names a field that does not exist or is not a
            single string.
    """
    descriptor = message.DESCRIPTOR
    name = descriptor.GetOptions().Extensions[partition_key]
    if not name:
        raise ContractError(
            f"{descriptor.full_name} has no partition key: add "
            f'`option (slipway.v1.partition_key) = "<field>";` to it in {descriptor.file.name}'
        )
    field = descriptor.fields_by_name.get(name)
    if field is None:
        raise ContractError(
            f"{descriptor.full_name} has no field {name!r}, which its option "
            f"slipway.v1.partition_key names in {descriptor.file.name}"
        )
    if field.type != FieldDescriptor.TYPE_STRING or field.is_repeated:
        raise ContractError(
            f"{descriptor.full_name}.{name} is its partition key and must be a single string: "
            f"change the field or the option in {descriptor.file.name}"
        )
    return str(name)


def stream_of(service: str) -> str:
    """Return the name of the JetStream stream that a service owns: the service's name.

    Raises:
        ContractError: a stream cannot have this name.
    """
    if not _STREAM_NAME.fullmatch(service):
        raise ContractError(
            f"a service cannot be named {service!r}: letters, digits, '-' and '_' only"
        )
    return service


def source_service(type: str) -> str:
    """Return the service that publishes a type, by its package: `shop.orders.v1.X` → `orders`.

    Raises:
        ContractError: the package has fewer than three parts.
    """
    parts = type.split(".")
    if len(parts) < 3 or not all(parts):
        raise ContractError(
            f"{type!r} names no service: an event's package is <area>.<service>.<version>"
        )
    return parts[-3]


def is_of_stream(subject: str, stream: str) -> bool:
    """Whether a subject is of a type whose events go into this stream."""
    try:
        return source_service(type_of_subject(subject)) == stream
    except ContractError:
        return False


def subject_of(type: str, lane: int) -> str:
    """Return the NATS subject of a type's events in a lane: `shop.orders.v1.OrderPlaced.7`."""
    return f"{type}.{lane}"


def type_of_subject(subject: str) -> str:
    """Return the type of a subject that `subject_of` has returned; empty for one without a dot."""
    return subject.rpartition(".")[0]


def lane_of_subject(subject: str) -> int:
    """Return the lane of a subject that `subject_of` has returned."""
    return int(subject.rpartition(".")[2])


def subjects_of(type: str) -> str:
    """Return the wildcard for a type's subjects in all lanes."""
    return f"{type}.*"
