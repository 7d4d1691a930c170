"""Which messages this platform writes and reads as JSON itself, instead of by `json_format`."""

from collections.abc import Sequence
from keyword import iskeyword

from google.protobuf.descriptor import Descriptor, FieldDescriptor

__all__ = ["Unusual", "indented", "usual_fields"]

# Python has a limit for loops within each other.
_DEEPEST = 10


class Unusual(Exception):
    """A type or a value that is left to `json_format`."""


def usual_fields(descriptor: Descriptor, within: Sequence[Descriptor]) -> Sequence[FieldDescriptor]:
    """Return the fields of a type, which is part of the types `within`.

    Raises:
        Unusual: the type or one of its fields is of a kind that contracts seldom have.
    """
    fields: Sequence[FieldDescriptor] = descriptor.fields
    if (
        descriptor in within
        or len(within) > _DEEPEST
        or descriptor.is_extendable
        or descriptor.file.package == "google.protobuf"
        or any(map(_is_unusual, fields))
    ):
        raise Unusual
    return fields


def _is_unusual(field: FieldDescriptor) -> bool:
    message, enum = field.message_type, field.enum_type
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_GROUP):
        return True
    if message is not None and message.GetOptions().map_entry:
        return True
    # An option can give an enum's value another name in JSON.
    if enum is not None and (enum.is_closed or any(value.has_options for value in enum.values)):
        return True
    return iskeyword(field.name)


def indented(lines: Sequence[str]) -> list[str]:
    """Return lines of Python as the body of the line before them."""
    return [f" {line}" for line in lines]
