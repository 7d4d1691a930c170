"""The lint of partition keys, which `buf breaking` does not see: events whose key changes would
leave their lane, and with it their order."""

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
)

__all__ = ["changed_keys", "partition_keys", "wrong_keys"]


def partition_keys(image: FileDescriptorSet) -> dict[str, str]:
    """The partition key of each event by its full name."""
    return {name: key for name, key, _ in _events(image)}


def wrong_keys(image: FileDescriptorSet) -> Iterator[str]:
    """Each partition key that is no string field of its message."""
    for name, key, message in _events(image):
        field = next((field for field in message.field if field.name == key), None)
        if field is None:
            yield f"{name}: its partition key {key} is no field of it; name one that is"
        elif (
            field.type != FieldDescriptorProto.TYPE_STRING
            or field.label == FieldDescriptorProto.LABEL_REPEATED
        ):
            yield f"{name}: its partition key {key} must be a single string"


def changed_keys(image: FileDescriptorSet, baseline: FileDescriptorSet) -> Iterator[str]:
    """Each released event whose partition key is another one now, or none."""
    now = partition_keys(image)
    there = {name for name, _ in _messages(image)}
    for name, key in partition_keys(baseline).items():
        if name in there and now.get(name) != key:
            changed = f"is {now[name]}" if name in now else "is gone"
            yield (
                f"{name}: its partition key was released as {key} and {changed};"
                " put it back, or make the event anew in a v2 beside it"
            )


def _events(image: FileDescriptorSet) -> Iterator[tuple[str, str, DescriptorProto]]:
    from slipway.v1 import partition_key

    for name, message in _messages(image):
        if message.options.HasExtension(partition_key):
            yield name, message.options.Extensions[partition_key], message


def _messages(image: FileDescriptorSet) -> Iterator[tuple[str, DescriptorProto]]:
    for file in image.file:
        pending = [(file.package, message) for message in file.message_type]
        while pending:
            parent, message = pending.pop(0)
            name = f"{parent}.{message.name}"
            yield name, message
            pending += [(name, nested) for nested in message.nested_type]
