"""More event types than one request to the broker may name."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from chassis.events.wire.contracts import event_type, subject_of
from chassis.events.wire.lanes import LANES, lane_of
from slipway.v1 import partition_key

__all__ = ["KEYS", "all_subjects", "many_types"]

_PACKAGE = "many.bookstore.v1"
_FILE = "many.proto"


def many_types(count: int) -> list[type[Message]]:
    """Return `count` event types of the bookstore, each with the field `key`."""
    pool = descriptor_pool.DescriptorPool()
    for dependency in ("google/protobuf/descriptor.proto", "slipway/v1/options.proto"):
        file = descriptor_pb2.FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(dependency).CopyToProto(file)
        pool.Add(file)
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    file.dependency.append("slipway/v1/options.proto")
    for number in range(count):
        message = file.message_type.add(name=f"Happened{number:03}")
        message.field.add(name="key", number=1, type=9, label=1)
        message.options.Extensions[partition_key] = "key"
    pool.Add(file)
    names = [f"{_PACKAGE}.{message.name}" for message in file.message_type]
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(n)) for n in names]


def all_subjects(types: list[type[Message]]) -> list[str]:
    """Return all subjects of these types."""
    return [subject_of(event_type(type), lane) for type in types for lane in range(LANES)]


def _one_key_a_lane() -> list[str]:
    keys: dict[int, str] = {}
    number = 0
    while len(keys) < LANES:
        keys.setdefault(lane_of(f"key-{number}"), f"key-{number}")
        number += 1
    return [keys[lane] for lane in range(LANES)]


KEYS = _one_key_a_lane()
