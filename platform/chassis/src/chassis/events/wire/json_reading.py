"""Reads messages from protobuf's JSON, by functions that are made once for each type.

They read JSON in the form that this platform and most others write. `google.protobuf.json_format`
reads any other JSON, or refuses it. So the same JSON gives the same message as there.

The function of a type with the fields `int64 number`, `string title` and `Timestamp sold_at` is:

    def read(v0):
     keys = 0
     keys += len(v0)
     v1 = v0.get('number')
     if type(v1) is str and ' ' not in v1: v0['number'] = int(v1)
     elif v1 is not None:
      v0['number'] = convert_1(v1)
     v1 = v0.get('sold_at')
     if v1 is not None:
      v0['sold_at'] = convert_2(v1)
     return keys
"""

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache
from math import isfinite
from typing import Any, TypeAlias, TypeVar

import orjson
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.events.wire.json_data import JsonData
from chassis.events.wire.json_fields import Unusual, indented, usual_fields
from chassis.events.wire.rfc3339 import TWO_DIGITS

__all__ = ["of_json"]

M = TypeVar("M", bound=Message)
_Read: TypeAlias = Callable[[Any], int]
"""Makes an object of JSON the arguments of a message, in place, and returns its number of keys."""
_Convert: TypeAlias = Callable[[Any], object]
"""Makes a value of JSON one that a message is made of."""


def of_json(message_type: type[M], data: bytes | JsonData) -> M:
    """Return the message that is written as JSON, without its unknown fields.

    Raises:
        ValueError: the data are not such a message. Many other errors can be raised, too.
    """
    try:
        return message_type(**_read(message_type, data))
    except Exception:  # Unusual data can fail at any step.
        text = bytes(data).decode()
        # The check is needed because the parser accepts any empty sequence as an empty message.
        if not text.lstrip().startswith("{") and not _is_well_known(message_type):
            raise ValueError("it is not an object") from None
        return json_format.Parse(text, message_type(), ignore_unknown_fields=True)


def _is_well_known(message_type: type[Message]) -> bool:
    """Whether the type's JSON may be another value than an object."""
    return message_type.DESCRIPTOR.file.package == "google.protobuf"


def _read(message_type: type[Message], data: bytes | JsonData) -> dict[str, Any]:
    """Return a message's arguments from data without anything unusual; any error means the same."""
    read = _reader_of(message_type.DESCRIPTOR)
    fields: dict[str, Any]
    if isinstance(data, JsonData):
        fields = data.take()
        read(fields)
    else:
        fields = orjson.loads(data)
        # There are more keys than were read if one is written twice, which is overlooked else.
        if read(fields) != data.translate(None, b" \t\r\n").count(b'":'):
            raise Unusual
    return fields


@cache
def _reader_of(descriptor: Descriptor) -> _Read:
    """Return the function that reads messages of a type, compiled since a loop takes longer.

    Names that the type does not have, and texts, are left to the constructor of the message.

    Raises:
        Unusual: there is none for this type.
    """
    names: dict[str, Any] = {"Unusual": Unusual}
    lines = _object_lines(descriptor, (), names)
    exec("\n".join(["def read(v0):", " keys = 0", *indented(lines), " return keys"]), names)
    read: _Read = names["read"]
    return read


def _object_lines(
    descriptor: Descriptor, within: tuple[Descriptor, ...], names: dict[str, Any]
) -> list[str]:
    """Return the lines that read the object in the variable v0, or v1 if it is within another."""
    variable = f"v{len(within)}"
    lines = [f"keys += len({variable})"]
    for field in usual_fields(descriptor, within):
        lines += _field_lines(field, (*within, descriptor), names)
    for oneof in descriptor.oneofs:
        if len(oneof.fields) > 1:
            of_oneof = {field.name for field in oneof.fields}
            lines.append(f"if len({variable}.keys() & {of_oneof}) > 1: raise Unusual")
    if len(lines) == 1:
        # Nothing but an object has the methods that the other lines call.
        lines.append(f"if type({variable}) is not dict: raise Unusual")
    return lines


def _field_lines(
    field: FieldDescriptor, within: tuple[Descriptor, ...], names: dict[str, Any]
) -> list[str]:
    """Return the lines that read a field; values in the form that most have need no call."""
    variable, place = f"v{len(within)}", f"v{len(within) - 1}['{field.name}']"
    get = f"{variable} = v{len(within) - 1}.get('{field.name}')"
    if field.message_type is not None and field.message_type.full_name not in _WELL_KNOWN:
        lines = _object_lines(field.message_type, within, names)
        if field.is_repeated:
            check = f"if type({variable}) is not list: raise Unusual"
            lines = [check, f"for {variable} in {variable}:", *indented(lines)]
        return [get, f"if {variable} is not None:", *indented(lines)]
    convert = _converter(field)
    if convert is None:
        return []
    name = f"convert_{len(names)}"
    names[name] = convert
    call = f" {place} = {name}({variable})"
    if field.cpp_type in _SMALL and not field.is_repeated:
        return [get, f"if type({variable}) is not int and {variable} is not None:", call]
    if field.cpp_type in _LARGE and not field.is_repeated:
        usual = f"if type({variable}) is str and ' ' not in {variable}: {place} = int({variable})"
        return [get, usual, f"elif {variable} is not None:", call]
    return [get, f"if {variable} is not None:", call]


def _converter(field: FieldDescriptor) -> _Convert | None:
    """Return a function that converts the value of a field, None if it is used as it is."""
    if field.message_type is not None:
        convert = _WELL_KNOWN[field.message_type.full_name]
    elif field.enum_type is not None:
        convert = _enum_converter(field.enum_type)
    elif field.type == field.TYPE_STRING:
        return _texts if field.is_repeated else None
    else:
        convert = _bytes if field.type == field.TYPE_BYTES else _SCALARS[field.cpp_type]
    return _list_converter(convert) if field.is_repeated else convert


def _list_converter(convert: _Convert) -> _Convert:
    def convert_list(values: Any) -> object:
        if type(values) is not list:
            raise Unusual
        return [convert(value) for value in values]

    return convert_list


def _texts(values: Any) -> object:
    if type(values) is not list:
        raise Unusual
    return values


def _enum_converter(enum: EnumDescriptor) -> _Convert:
    numbers = {name: value.number for name, value in enum.values_by_name.items()}
    return lambda name: numbers[name]


def _integer(value: Any) -> object:
    if type(value) is str and " " not in value:
        return int(value)
    if type(value) is int:
        return value
    raise Unusual


def _double(value: Any) -> object:
    if type(value) in (int, float) and isfinite(value):
        return value
    raise Unusual


def _bool(value: Any) -> object:
    if type(value) is bool:
        return value
    raise Unusual


def _bytes(value: Any) -> object:
    """Read base64 of either alphabet, with its padding or without."""
    return urlsafe_b64decode(value + "=" * (4 - len(value) % 4))


def _timestamp(value: Any) -> object:
    """Read a time in UTC, in a tenth of the time that its own method takes."""
    seconds = _seconds_of(value[:17])
    end = value[17:]
    if end in _ENDS:
        return {"seconds": seconds + _ENDS[end]}
    digits = end[3:-1]
    if end[2:] != f".{digits}Z" or len(digits) > 9 or not (digits.isascii() and digits.isdigit()):
        raise Unusual
    return {"seconds": seconds + _ENDS[f"{end[:2]}Z"], "nanos": int(digits.ljust(9, "0"))}


@lru_cache(64)
def _seconds_of(minute: str) -> int:
    """Return a minute's seconds since 1970. Events that arrive together have the same minute."""
    if not _MINUTE.fullmatch(minute):
        raise Unusual
    return int(datetime.fromisoformat(f"{minute}00+00:00").timestamp())


def _duration(value: Any) -> object:
    duration = Duration()
    duration.FromJsonString(value)
    return duration


_MINUTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:", re.ASCII)
_ENDS = {f"{text}Z": number for number, text in enumerate(TWO_DIGITS)}
"""The seconds of a time without a fraction, and its end."""
_WELL_KNOWN: dict[str, _Convert] = {
    Timestamp.DESCRIPTOR.full_name: _timestamp,
    Duration.DESCRIPTOR.full_name: _duration,
}
_SMALL = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32)
_LARGE = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_SCALARS: dict[int, _Convert] = {
    FieldDescriptor.CPPTYPE_BOOL: _bool,
    FieldDescriptor.CPPTYPE_DOUBLE: _double,
    FieldDescriptor.CPPTYPE_INT32: _integer,
    FieldDescriptor.CPPTYPE_UINT32: _integer,
    FieldDescriptor.CPPTYPE_INT64: _integer,
    FieldDescriptor.CPPTYPE_UINT64: _integer,
}
