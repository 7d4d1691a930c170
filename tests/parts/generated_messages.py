"""Hypothesis strategies for protobuf messages with arbitrary and with valid values."""

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

__all__ = ["messages"]

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def messages(descriptor: Descriptor, valid: tuple[str, ...] = ()) -> "st.SearchStrategy[Message]":
    """Return a strategy for messages of a type; `valid` are texts that string fields may accept."""
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
    if valid:
        texts = st.sampled_from(valid) | texts
    return _message(descriptor, texts)


def _message(
    descriptor: Descriptor, texts: "st.SearchStrategy[str]"
) -> "st.SearchStrategy[Message]":
    kind = GetMessageClass(descriptor)
    fields = {}
    for field in descriptor.fields:
        value = _value(field, texts)
        fields[field.name] = st.lists(value, max_size=4) if field.is_repeated else value
    return st.fixed_dictionaries({}, optional=fields).map(lambda content: kind(**content))


def _value(field: FieldDescriptor, texts: "st.SearchStrategy[str]") -> "st.SearchStrategy[object]":
    if field.message_type is not None:
        return _message(field.message_type, texts)
    if field.enum_type is not None:
        return st.integers(-1, 10)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return texts if field.type == FieldDescriptor.TYPE_STRING else st.binary(max_size=80)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type in _INTEGERS:
        smallest, largest = _INTEGERS[field.cpp_type]
        return st.integers(0, 20) | st.integers(smallest, largest)
    return st.floats()
