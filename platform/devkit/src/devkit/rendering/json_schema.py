"""JSON Schemas of protobuf messages in proto JSON, with the field names of the .proto files."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

__all__ = ["message_schemas"]

Schema = dict[str, Any]

_INTEGERS_OF_64_BITS = {
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_SFIXED64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_FIXED64,
}
_INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
}
_NUMBERS = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}
_TEXT_OF_64_BITS: Schema = {"type": "string", "pattern": "^-?[0-9]{1,20}$"}
_NUMBER: Schema = {"type": ["number", "string"], "description": "a string for NaN and Infinity"}
_BASE64: Schema = {"type": "string", "contentEncoding": "base64"}

# Messages that proto JSON does not write as an object of their fields.
_WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Any": {"type": "object", "required": ["@type"]},
    "google.protobuf.BoolValue": {"type": "boolean"},
    "google.protobuf.StringValue": {"type": "string"},
    "google.protobuf.BytesValue": _BASE64,
    "google.protobuf.DoubleValue": _NUMBER,
    "google.protobuf.FloatValue": _NUMBER,
    "google.protobuf.Int32Value": {"type": "integer"},
    "google.protobuf.UInt32Value": {"type": "integer", "minimum": 0},
    "google.protobuf.Int64Value": _TEXT_OF_64_BITS,
    "google.protobuf.UInt64Value": _TEXT_OF_64_BITS,
}


def message_schemas(messages: Iterable[Descriptor]) -> dict[str, Schema]:
    """Return the schemas of these messages and the types in their fields, by full name.

    A field may be missing, and unknown fields are allowed, so that a contract can grow.
    """
    found: dict[str, Schema] = {}
    pending: list[Descriptor | EnumDescriptor] = list(messages)
    while pending:
        descriptor = pending.pop()
        if descriptor.full_name in found:
            continue
        if isinstance(descriptor, EnumDescriptor):
            names = [value.name for value in descriptor.values]
            found[descriptor.full_name] = {"type": "string", "enum": names}
        else:
            properties = {field.name: _field(field) for field in descriptor.fields}
            found[descriptor.full_name] = {"type": "object", "properties": properties}
            pending += [type for field in descriptor.fields for type in _referenced_types(field)]
    return dict(sorted(found.items()))


def _referenced_types(field: FieldDescriptor) -> list[Descriptor | EnumDescriptor]:
    """Return the types to which a field's schema refers."""
    if (value := _map_value(field)) is not None:
        return _referenced_types(value)
    if field.enum_type is not None:
        return [field.enum_type]
    if field.message_type is None or field.message_type.full_name in _WELL_KNOWN:
        return []
    return [field.message_type]


def _field(field: FieldDescriptor) -> Schema:
    if (value := _map_value(field)) is not None:
        return {"type": "object", "additionalProperties": _single_value(value)}
    if field.is_repeated:
        return {"type": "array", "items": _single_value(field)}
    return _single_value(field)


def _single_value(field: FieldDescriptor) -> Schema:
    """Return the schema of one value of a field, repeated or not."""
    if field.enum_type is not None:
        return _reference(field.enum_type.full_name)
    if field.message_type is not None:
        name = field.message_type.full_name
        return dict(_WELL_KNOWN[name]) if name in _WELL_KNOWN else _reference(name)
    if field.type in _INTEGERS:
        lowest, highest = _INTEGERS[field.type]
        return {"type": "integer", "minimum": lowest, "maximum": highest}
    if field.type in _INTEGERS_OF_64_BITS:
        return dict(_TEXT_OF_64_BITS)
    if field.type in _NUMBERS:
        return dict(_NUMBER)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    return dict(_BASE64) if field.type == FieldDescriptor.TYPE_BYTES else {"type": "string"}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """Return the field of a map's values; None if the field is not a map."""
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return None
    return entry.fields_by_name["value"]
