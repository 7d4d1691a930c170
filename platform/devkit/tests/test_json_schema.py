"""The JSON Schemas of messages admit proto JSON and refuse other shapes."""

from typing import Any

import jsonschema_rs
import pytest
from google.protobuf import (
    any_pb2,
    duration_pb2,
    json_format,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from devkit.rendering.json_schema import message_schemas

pytestmark = pytest.mark.unit

F = FieldDescriptorProto
SCALARS = {
    "text": F.TYPE_STRING,
    "raw": F.TYPE_BYTES,
    "flag": F.TYPE_BOOL,
    "small": F.TYPE_INT32,
    "unsigned": F.TYPE_UINT32,
    "large": F.TYPE_INT64,
    "fixed": F.TYPE_FIXED64,
    "ratio": F.TYPE_DOUBLE,
}
WELL_KNOWN = {
    "at": "Timestamp",
    "took": "Duration",
    "anything": "Any",
    "free": "Struct",
    "value": "Value",
    "maybe": "Int64Value",
    "name": "StringValue",
}


def message_type() -> type[Message]:
    """Return a message type with a field of every kind, a recursive field, and maps."""
    file = FileDescriptorProto(name="all.proto", package="test", syntax="proto3")
    for each in (timestamp_pb2, duration_pb2, any_pb2, struct_pb2, wrappers_pb2):
        file.dependency.append(each.DESCRIPTOR.name)
    color = file.enum_type.add(name="Color")
    for number, name in enumerate(("COLOR_UNSPECIFIED", "COLOR_RED")):
        color.value.add(name=name, number=number)
    all_ = file.message_type.add(name="All")
    for name, kind in SCALARS.items():
        add(all_, name, kind)
        add(all_, f"many_{name}", kind, repeated=True)
    for name, type_name in WELL_KNOWN.items():
        add(all_, name, F.TYPE_MESSAGE, f".google.protobuf.{type_name}")
    add(all_, "color", F.TYPE_ENUM, ".test.Color")
    add(all_, "inner", F.TYPE_MESSAGE, ".test.All")
    add(all_, "inners", F.TYPE_MESSAGE, ".test.All", repeated=True)
    entry = all_.nested_type.add(name="PricesEntry")
    entry.options.map_entry = True
    add(entry, "key", F.TYPE_STRING)
    add(entry, "value", F.TYPE_INT64)
    add(all_, "prices", F.TYPE_MESSAGE, ".test.All.PricesEntry", repeated=True)

    pool = DescriptorPool()
    for each in (timestamp_pb2, duration_pb2, any_pb2, struct_pb2, wrappers_pb2):
        pool.AddSerializedFile(each.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("test.All"))


def add(
    message: Any, name: str, kind: int, type_name: str | None = None, *, repeated: bool = False
) -> None:
    label = F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL
    number = len(message.field) + 1
    message.field.add(name=name, number=number, type=kind, label=label, type_name=type_name)


ALL = message_type()
DESCRIPTOR: Any = ALL.DESCRIPTOR
SCHEMAS = message_schemas([DESCRIPTOR])
VALIDATOR = jsonschema_rs.Draft7Validator(
    {"$ref": "#/components/schemas/test.All", "components": {"schemas": SCHEMAS}},
    validate_formats=True,
)

FULL: dict[str, Any] = {
    "text": "größer",
    "raw": "AAEC",
    "flag": True,
    "small": -5,
    "unsigned": 4294967295,
    "large": "-9223372036854775808",
    "fixed": "18446744073709551615",
    "ratio": 0.5,
    "many_text": ["a", ""],
    "many_large": ["1"],
    "many_ratio": ["NaN", "-Infinity", 1.0],
    "at": "2026-01-02T03:04:05.678Z",
    "took": "-1.500s",
    "anything": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"},
    "free": {"any": [1, None]},
    "value": [1],
    "maybe": "7",
    "name": "n",
    "color": "COLOR_RED",
    "inner": {"inners": [{"small": 1}]},
    "prices": {"EUR": "100"},
}


@pytest.mark.parametrize("with_defaults", [False, True])
def test_what_proto_json_writes_is_admitted(with_defaults: bool) -> None:
    message = json_format.ParseDict(FULL, ALL())

    written = json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=with_defaults,
    )

    # The message must have contained every kind of field.
    assert with_defaults or written == FULL
    VALIDATOR.validate(written)


@pytest.mark.parametrize("field", sorted(FULL.keys() - {"value"}))
def test_a_field_of_another_kind_is_refused(field: str) -> None:
    assert not VALIDATOR.is_valid({**FULL, field: 1.5 if field != "ratio" else []})


def test_an_unknown_field_is_admitted() -> None:
    assert VALIDATOR.is_valid({"added_later": 1})


def test_all_that_a_message_holds_is_described_once() -> None:
    assert sorted(SCHEMAS) == ["test.All", "test.Color"]
