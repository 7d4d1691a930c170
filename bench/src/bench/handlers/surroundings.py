"""The surroundings of handled events: further event types, waiting tasks and dead letters."""

import time
from collections.abc import Callable

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from sqlalchemy import insert

from chassis import EventRouter, Transaction
from chassis.database import tables
from slipway.v1 import partition_key

__all__ = ["add_dead_letters", "add_tasks", "subscribe"]

# The service of the package is the one that publishes the orders, so all types are in its stream.
_PACKAGE = "further.orders.v1"
_OPTIONS = "slipway/v1/options.proto"
_YEAR_SECONDS = 365 * 86400.0


def subscribe(router: EventRouter, count: int) -> None:
    """Subscribe to further event types, of which the stream has no events."""
    for message in _further_types(count):
        router.on(message)(_ignoring(message))


def _ignoring(type: type[Message]) -> Callable[[Message, Transaction], None]:
    """Return a handler of this type that does nothing."""

    def ignore(message: Message, tx: Transaction) -> None:
        pass

    # The router compares the annotation with the type.
    ignore.__annotations__["message"] = type
    return ignore


def _further_types(count: int) -> list[type[Message]]:
    pool = descriptor_pool.DescriptorPool()
    for dependency in ("google/protobuf/descriptor.proto", _OPTIONS):
        file = descriptor_pb2.FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(dependency).CopyToProto(file)
        pool.Add(file)
    file = descriptor_pb2.FileDescriptorProto(
        name="further.proto", package=_PACKAGE, syntax="proto3", dependency=[_OPTIONS]
    )
    for number in range(count):
        message = file.message_type.add(name=f"Happened{number:03}")
        message.field.add(name="key", number=1, type=9, label=1)
        message.options.Extensions[partition_key] = "key"
    pool.Add(file)
    names = [f"{_PACKAGE}.{message.name}" for message in file.message_type]
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]


def add_tasks(count: int, type: str, tx: Transaction) -> None:
    """Add tasks of this type that are due in a year."""
    now = time.time()
    task = {
        "stored_at": now,
        "due_at": now + _YEAR_SECONDS,
        "followed": False,
        "tries": 1,
        "attempt": 1,
        "alone": False,
        "reason": "the benchmark lets it wait",
    }
    rows = [{**_event(number, type), **task} for number in range(count)]
    if rows:
        tx.session.execute(insert(tables.tasks), rows)


def add_dead_letters(count: int, type: str, tx: Transaction) -> None:
    """Add dead letters of this type."""
    dead = {"tries": 10, "reason": "the benchmark gave it up", "died_at": time.time()}
    rows = [{**_event(number, type), **dead} for number in range(count)]
    if rows:
        tx.session.execute(insert(tables.dead_letters), rows)


def _event(number: int, type: str) -> dict[str, object]:
    return {
        "source": "orders",
        "key": f"waiting-{number}",
        "event_id": f"event-{number}",
        "type": type,
        "subject": f"waiting-{number}",
        "headers": b"{}",
        "data": b"",
    }
