"""Types of messages: one with fields of every usual kind, one with unusual ones, all contracts'.

They come with JSON that a client may send as such a message, some of it wrong.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

__all__ = ["CONTRACTS", "DEEP", "EVERY_KIND", "UNUSUAL_KINDS", "json_of", "messages_of"]

_WELL_KNOWN = (timestamp_pb2, duration_pb2, struct_pb2, wrappers_pb2)
_SCALARS = ("int32", "int64", "uint32", "uint64", "sint64", "fixed64", "double", "bool")
_KINDS = {
    **{kind: kind for kind in (*_SCALARS, "string", "bytes")},
    "color": ".kinds.Color",
    "inner": ".kinds.Inner",
    "time": ".google.protobuf.Timestamp",
    "duration": ".google.protobuf.Duration",
}
_UNUSUAL = {
    "again": ".kinds.Unusual",
    "number": "float",
    "struct": ".google.protobuf.Struct",
    "wrapper": ".google.protobuf.Int64Value",
    "every": ".kinds.Every",
}
_DEPTH = 30


def _file() -> FileDescriptorProto:
    """Return a .proto with an enum and the messages Inner, Every, Unusual, Deep0 and so on."""
    names = [module.DESCRIPTOR.name for module in _WELL_KNOWN]
    file = FileDescriptorProto(name="kinds.proto", package="kinds", syntax="proto3")
    file.dependency.extend(names)
    color = file.enum_type.add(name="Color")
    for number, name in enumerate(("UNKNOWN", "RED", "GREEN")):
        color.value.add(name=name, number=number)
    inner = file.message_type.add(name="Inner")
    _add(inner, "text", "string")
    _add(inner, "count", "int64")
    every = file.message_type.add(name="Every")
    every.oneof_decl.add(name="choice")
    for name, kind in _KINDS.items():
        _add(every, f"a_{name}", kind)
        _add(every, f"some_{name}", kind, label=FieldDescriptorProto.LABEL_REPEATED)
        _add(every, f"or_{name}", kind, oneof_index=0)
    for place, name in enumerate(("int32", "string", "color"), 1):
        every.oneof_decl.add(name=f"_maybe_{name}")
        _add(every, f"maybe_{name}", _KINDS[name], oneof_index=place, proto3_optional=True)
    unusual = file.message_type.add(name="Unusual")
    for name, kind in _UNUSUAL.items():
        _add(unusual, name, kind)
    for depth in range(_DEPTH):
        deep = file.message_type.add(name=f"Deep{depth}")
        _add(deep, "text", "string")
        if depth < _DEPTH - 1:
            repeated = FieldDescriptorProto.LABEL_REPEATED
            _add(deep, "parts", f".kinds.Deep{depth + 1}", label=repeated)
    return file


def _add(message: DescriptorProto, name: str, kind: str, **options: Any) -> None:
    """Add a field of a scalar kind, or of the type with this full name."""
    given: dict[str, Any] = {"label": FieldDescriptorProto.LABEL_OPTIONAL, **options}
    field = message.field.add(name=name, number=len(message.field) + 1, **given)
    if kind.startswith("."):
        field.type_name = kind
        enum = kind.endswith("Color")
        field.type = field.TYPE_ENUM if enum else field.TYPE_MESSAGE
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")


def _made() -> DescriptorPool:
    pool = DescriptorPool()
    for module in _WELL_KNOWN:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(_file().SerializeToString())
    return pool


_pool = _made()
EVERY_KIND: type[Message] = GetMessageClass(_pool.FindMessageTypeByName("kinds.Every"))
UNUSUAL_KINDS: type[Message] = GetMessageClass(_pool.FindMessageTypeByName("kinds.Unusual"))
DEEP: Any = GetMessageClass(_pool.FindMessageTypeByName("kinds.Deep0"))
"""A message with more types within each other than Python allows loops."""


def _contract_messages() -> Iterator[type[Message]]:
    root = Path(__file__).parents[4] / "contracts"
    for file in sorted(root.rglob("*_pb2.py")):
        module = importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts))
        for descriptor in module.DESCRIPTOR.message_types_by_name.values():
            yield GetMessageClass(descriptor)


CONTRACTS = list(_contract_messages())
"""The messages of all contracts in this repository."""

_integers = (
    st.integers(-(2**31), 2**31) | st.integers(-(2**65), 2**65) | st.sampled_from([0, 1, 2, 3])
)
_floats = st.floats(width=32) | st.floats()
_texts = st.text(max_size=5) | st.sampled_from(["\ud800", "😀", 'a":b', "true"])
_times = st.datetimes().map(lambda t: f"{t.isoformat()}Z") | st.sampled_from(
    [
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999999999Z",
        "2026-01-01T00:00:00.5Z",
        "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00+01:00",
        "2026-W01-1T00:00:00Z",
        "2026-01-01T00:00:60Z",
        "2026-1-1T0:0:0Z",
        "0000-01-01T00:00:00Z",
        "2026-01-01t00:00:00Z",
    ]
)
_base64 = st.binary(max_size=5).map(lambda data: data.hex()) | st.sampled_from(
    ["AP8=", "AP8", "_-8=", "/+8=", "A", "%", "é"]
)
_wrong: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.builds(list), st.builds(dict), _texts, _integers, _floats
)
_odd_numbers = st.sampled_from(
    ["1e3", "1.0", "0x1", " 1", "1_0", "+1", "NaN", "Infinity", "-Infinity", "nan", "-0", 1e22]
)


def json_of(descriptor: Any, depth: int = 2) -> st.SearchStrategy[Any]:
    """Return values of JSON for a message, with a few that are wrong."""
    named = {
        "google.protobuf.Timestamp": _times,
        "google.protobuf.Duration": st.sampled_from(["1s", "-1.5s", "0.000000001s", "1", "1e3s"]),
    }
    if descriptor.full_name in named:
        return named[descriptor.full_name]
    if depth == 0 or not descriptor.fields:
        return st.just({})
    pairs = [
        st.tuples(
            st.sampled_from([field.name, field.name, field.name, field.json_name]),
            _values_of(field, depth),
        )
        for field in descriptor.fields
    ]
    unknown = st.tuples(st.just("unknown"), _wrong)
    return st.lists(st.one_of(*pairs, *pairs, unknown), max_size=5).map(dict)


def _values_of(field: Any, depth: int) -> st.SearchStrategy[Any]:
    right = _right_of(field, depth)
    if field.is_repeated:
        right = st.lists(right, max_size=2)
    # Nineteen of twenty values are right, so that most messages are.
    return st.integers(0, 19).flatmap(lambda choice: right if choice else _wrong)


def _right_of(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return json_of(field.message_type, depth - 1)
    if field.enum_type is not None:
        names = [value.name for value in field.enum_type.values]
        return st.sampled_from([*names, *names, "NO_SUCH", 1, 99, "1"])
    if field.type == field.TYPE_BYTES:
        return _base64
    if field.type == field.TYPE_STRING:
        return _texts
    if field.type == field.TYPE_BOOL:
        return st.booleans()
    if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT):
        return _floats | _integers | _odd_numbers
    small = st.integers(-10, 2**31 - 1)
    return st.one_of(small, small.map(str), _integers, _integers.map(str), _odd_numbers)


def messages_of(kind: type[Message], depth: int = 2) -> st.SearchStrategy[Message]:
    """Return messages of a type, with values in and out of the range that JSON has a form for."""
    fields: list[Any] = [f for f in kind.DESCRIPTOR.fields if depth and not _is_map(f)]
    if not fields:
        return st.builds(kind)
    return st.lists(st.sampled_from(fields), max_size=4).flatmap(
        lambda chosen: st.tuples(*(_set_of(field, depth) for field in chosen)).map(
            lambda values: _with(kind(), chosen, values)
        )
    )


def _is_map(field: Any) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _set_of(field: Any, depth: int) -> st.SearchStrategy[Any]:
    one = _value_of(field, depth)
    return st.lists(one, max_size=2) if field.is_repeated else one


def _value_of(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages_of(GetMessageClass(field.message_type), depth - 1)
    if field.enum_type is not None:
        return st.integers(0, 4)
    if field.type == field.TYPE_BYTES:
        return st.binary(max_size=5)
    if field.type == field.TYPE_STRING:
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    if field.type == field.TYPE_BOOL:
        return st.booleans()
    if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT):
        return st.floats(width=32)
    signed = field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
    bits = 32 if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high) | st.sampled_from([0, 1, 10**9])


def _with(message: Message, fields: list[Any], values: tuple[Any, ...]) -> Message:
    for field, value in zip(fields, values, strict=True):
        if field.is_repeated:
            getattr(message, field.name).extend(value)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message
