"""Writes messages as protobuf's JSON, by functions that are compiled once for each type.

They give what `google.protobuf.json_format` gives with the .proto's names and with all fields that
have no presence. It writes itself what they leave to it.

The function of a type with the fields `int64 number`, `string title` and `Timestamp sold_at` is:

    def write(v0):
     text0 = f'"number":"{v0.number}","title":{write0(v0.title)}'
     if 'sold_at' in v0:
      text0 = f'{text0},"sold_at":{write1(v0.sold_at)}'
     return f'{{{text0}}}'
"""

import math
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, lru_cache
from json.encoder import encode_basestring
from typing import Any, TypeAlias

import orjson
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.events.wire.json_fields import Unusual, indented, usual_fields
from chassis.events.wire.rfc3339 import TWO_DIGITS

__all__ = ["to_json_text"]

_Write: TypeAlias = Callable[[Any], str]
"""Gives a value as JSON."""
_Code: TypeAlias = tuple[list[str], str]
"""Lines, and the template of the JSON: part of an f-string of single quotes after them."""


def to_json_text(message: Message) -> str:
    """Return a message as JSON: an object with the .proto's names, mostly.

    Raises:
        json_format.SerializeToJsonError: JSON has no form for a value, as for a time out of range.
    """
    try:
        return _writer_of(message.DESCRIPTOR)(message)
    except Unusual:
        value = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return orjson.dumps(value).decode()


@cache
def _writer_of(descriptor: Descriptor) -> _Write:
    """Return the function that writes messages of a type; it raises Unusual for some.

    It is compiled, as the methods of dataclasses are, because a loop over the fields takes three
    times as long.
    """
    names: dict[str, Any] = {}
    try:
        lines, template = _object_code(descriptor, (), names)
    except Unusual:
        return _leave
    exec("\n".join(["def write(v0):", *indented(lines), f" return f'{template}'"]), names)
    write: _Write = names["write"]
    return write


def _leave(_: Message) -> str:
    raise Unusual


def _object_code(
    descriptor: Descriptor, within: tuple[Descriptor, ...], names: dict[str, Any]
) -> _Code:
    """Return the code that writes the message in the variable v0, or v1 if it is within another."""
    text = f"text{len(within)}"
    lines: list[str] = []
    always: list[str] = []
    optional: list[str] = []
    for field in usual_fields(descriptor, within):
        before, template = _field_code(field, (*within, descriptor), names)
        member = f'"{field.name}":{template}'
        if field.has_presence:
            optional.append(f"if '{field.name}' in v{len(within)}:")
            optional += indented([*before, f"{text} = f'{{{text}}},{member}'"])
        else:
            lines += before
            always.append(member)
    lines += f"{text} = f'{','.join(always)}'", *optional
    members = text if always else f"{text}[1:]"
    return lines, "{{{" + members + "}}}"


def _field_code(
    field: FieldDescriptor, within: tuple[Descriptor, ...], names: dict[str, Any]
) -> _Code:
    """Return the code that writes the value of a field."""
    depth = len(within)
    expression, variable = f"v{depth - 1}.{field.name}", f"v{depth}"
    texts = f"texts{depth}_{field.name}"
    if field.message_type is not None and field.message_type.full_name not in _WELL_KNOWN:
        lines, template = _object_code(field.message_type, within, names)
        if not field.is_repeated:
            return [f"{variable} = {expression}", *lines], template
        body = [*lines, f"{texts}.append(f'{template}')"]
        loop = [f"for {variable} in {expression}:", *indented(body)]
        return [f"{texts} = []", *loop], f'[{{",".join({texts})}}]'
    write = _value_writer(field)
    if write is str:
        return [], f"{{{expression}}}"
    if write is _large:
        return [], f'"{{{expression}}}"'
    name = f"write{len(names)}"
    names[name] = write
    return [], f"{{{name}({expression})}}"


def _value_writer(field: FieldDescriptor) -> _Write:
    """Return a function that writes the value of a field."""
    if field.message_type is not None:
        write = _WELL_KNOWN[field.message_type.full_name]
    elif field.enum_type is not None:
        write = _enum_writer(field.enum_type)
    elif field.type == field.TYPE_BYTES:
        write = _bytes
    else:
        write = _SCALARS[field.cpp_type]
    if field.is_repeated:
        return lambda values: f"[{','.join([write(value) for value in values])}]"
    return write


def _enum_writer(enum: EnumDescriptor) -> _Write:
    names = {number: f'"{value.name}"' for number, value in enum.values_by_number.items()}
    return lambda number: names.get(number) or str(number)


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _bytes(value: bytes) -> str:
    return f'"{b64encode(value).decode()}"'


def _double(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'


def _large(value: int) -> str:
    """Write an integer of 64 bits, which JSON's numbers do not hold."""
    return f'"{value}"'


def _timestamp(value: Timestamp) -> str:
    """Write a time, in a tenth of the time that its own method takes."""
    nanos = value.nanos
    minute, second = divmod(value.seconds, 60)
    if not nanos:
        return f'"{_minute(minute)}{TWO_DIGITS[second]}Z"'
    if not 0 < nanos < 10**9:
        raise Unusual
    fraction = f"{nanos:09d}"
    # A fraction has 3, 6 or 9 digits.
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return f'"{_minute(minute)}{TWO_DIGITS[second]}.{fraction}Z"'


@lru_cache(64)
def _minute(number: int) -> str:
    """Return a minute since 1970 in UTC. Events of the same time have the same one."""
    try:
        return datetime.fromtimestamp(number * 60, UTC).isoformat()[:-8]
    except (ValueError, OverflowError, OSError):
        raise Unusual from None


def _duration(value: Duration) -> str:
    try:
        return f'"{value.ToJsonString()}"'
    except ValueError:
        raise Unusual from None


_WELL_KNOWN: dict[str, _Write] = {
    Timestamp.DESCRIPTOR.full_name: _timestamp,
    Duration.DESCRIPTOR.full_name: _duration,
}
_SCALARS: dict[int, _Write] = {
    FieldDescriptor.CPPTYPE_BOOL: _bool,
    FieldDescriptor.CPPTYPE_DOUBLE: _double,
    FieldDescriptor.CPPTYPE_INT32: str,
    FieldDescriptor.CPPTYPE_INT64: _large,
    FieldDescriptor.CPPTYPE_STRING: encode_basestring,
    FieldDescriptor.CPPTYPE_UINT32: str,
    FieldDescriptor.CPPTYPE_UINT64: _large,
}
