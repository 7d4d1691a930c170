"""The lint of partition keys, which `buf breaking` does not check.

An event whose key changes would move to another lane and lose its order.
"""

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
)

__all__ = ["changed_keys", "partition_keys", "wrong_keys"]


def partition_keys(image: FileDescriptorSet) -> dict[str, str]:
    """Return the partition key of each event by the event's full name."""
    return {name: key for name, key, _ in _events(image)}


def wrong_keys(image: FileDescriptorSet) -> Iterator[str]:
    """Yield a line for each partition key that is not a string field of its message."""
    for name, key, message in _events(image):
        field = next((field for field in message.field if field.name == key), None)
        if field is None:
            yield f"{name}: its partition key {key} is not a field of it; name a field"
        elif (
            field.type != FieldDescriptorProto.TYPE_STRING
            or field.label == FieldDescriptorProto.LABEL_REPEATED
        ):
            yield f"{name}: its partition key {key} must be a single string"


def changed_keys(image: FileDescriptorSet, baseline: FileDescriptorSet) -> Iterator[str]:
    """Yield a line for each released event whose partition key has changed or disappeared."""
    now = partition_keys(image)
    existing = {name for name, _ in _messages(image)}
    for name, key in partition_keys(baseline).items():
        if name in existing and now.get(name) != key:
            changed = f"is {now[name]} now" if name in now else "is missing now"
            yield (
                f"{name}: its partition key was released as {key} and {changed};"
                " restore it, or add the event to a package v2"
            )


def _events(image: FileDescriptorSet) -> Iterator[tuple[str, str, DescriptorProto]]:
    from slipway.v1 import partition_key

    for name, message in _messages(image):
        if message.options.HasExtension(partition_key):
            yield name, message.options.Extensions[partition_key], message


def _messages(image: FileDescriptorSet) -> Iterator[tuple[str, DescriptorProto]]:
    """Yield the full name and descriptor of each message, nested ones included."""
    for file in image.file:
        pending = [(file.package, message) for message in file.message_type]
        while pending:
            parent, message = pending.pop(0)
            name = f"{parent}.{message.name}"
            yield name, message
            pending += [(name, nested) for nested in message.nested_type]
