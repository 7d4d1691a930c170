"""Writes messages as protobuf's JSON, by functions that are compiled once for each type.

They give what `google.protobuf.json_format` gives with the .proto's names and with all fields that
have no presence. It writes itself what they leave to it.
"""

import math
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, TypeAlias

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.events.wire.json_fields import Unusual, usual_fields

__all__ = ["to_json_value"]

_Write: TypeAlias = Callable[[Any], Any]
"""Gives the value of a field, or a message, as a value of JSON."""


def to_json_value(message: Message) -> Any:
    """Return a message as JSON has it: a dictionary with the .proto's names, mostly.

    Raises:
        json_format.SerializeToJsonError: JSON has no form for a value, as for a time out of range.
    """
    try:
        return _writer_of(message.DESCRIPTOR)(message)
    except Unusual:
        return json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )


@cache
def _writer_of(descriptor: Descriptor) -> _Write:
    """Return the function that writes messages of a type; it raises Unusual for some."""
    try:
        return _message_writer(descriptor, ())
    except Unusual:
        return _leave


def _leave(_: Message) -> Any:
    raise Unusual


def _message_writer(descriptor: Descriptor, within: tuple[Descriptor, ...]) -> _Write:
    """Return a function that writes a message.

    It is compiled, as the methods of dataclasses are, because a loop over the fields takes three
    times as long.
    """
    if descriptor.full_name in _WELL_KNOWN:
        return _WELL_KNOWN[descriptor.full_name]
    functions: dict[str, Any] = {}
    always, present = "", ""
    for field in usual_fields(descriptor, within):
        name, value = field.name, f"m.{field.name}"
        write = _value_writer(field, (*within, descriptor))
        if write is not None:
            functions[f"write_{name}"] = write
            value = f"write_{name}({value})"
        if field.has_presence:
            present += f" if m.HasField('{name}'): js['{name}'] = {value}\n"
        else:
            always += f"'{name}': {value}, "
    exec(f"def write(m):\n js = {{{always}}}\n{present} return js", functions)
    compiled: _Write = functions["write"]
    return compiled


def _value_writer(field: FieldDescriptor, within: tuple[Descriptor, ...]) -> _Write | None:
    """Return a function that writes the value of a field, None if it is written as it is."""
    if field.message_type is not None:
        write = _message_writer(field.message_type, within)
    elif field.enum_type is not None:
        write = _enum_writer(field.enum_type)
    elif field.type == field.TYPE_BYTES:
        write = _bytes
    elif field.cpp_type in _SCALARS:
        write = _SCALARS[field.cpp_type]
    else:
        return list if field.is_repeated else None
    if field.is_repeated:
        return lambda values: [write(value) for value in values]
    return write


def _enum_writer(enum: EnumDescriptor) -> _Write:
    names = {number: value.name for number, value in enum.values_by_number.items()}
    return lambda number: names.get(number, number)


def _bytes(value: bytes) -> str:
    return b64encode(value).decode()


def _double(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _timestamp(value: Timestamp) -> str:
    """Write a time, in a tenth of the time that its own method takes."""
    if not 0 <= value.nanos < 10**9:
        raise Unusual
    minute, second = divmod(value.seconds, 60)
    text = f"{_minute(minute)}{second:02}"
    fraction = f".{value.nanos:09d}" if value.nanos else ""
    # A fraction has 3, 6 or 9 digits.
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return f"{text}{fraction}Z"


@lru_cache(64)
def _minute(number: int) -> str:
    """Return a minute since 1970 in UTC. Events of the same time have the same one."""
    try:
        return datetime.fromtimestamp(number * 60, UTC).isoformat()[:-8]
    except (ValueError, OverflowError, OSError):
        raise Unusual from None


def _duration(value: Duration) -> str:
    try:
        return value.ToJsonString()
    except ValueError:
        raise Unusual from None


_WELL_KNOWN: dict[str, _Write] = {
    Timestamp.DESCRIPTOR.full_name: _timestamp,
    Duration.DESCRIPTOR.full_name: _duration,
}
# JSON's numbers do not hold all 64 bits.
_SCALARS: dict[int, _Write] = {
    FieldDescriptor.CPPTYPE_INT64: str,
    FieldDescriptor.CPPTYPE_UINT64: str,
    FieldDescriptor.CPPTYPE_DOUBLE: _double,
}
