"""asyncapi.yaml of each service: its events as an AsyncAPI 3 document."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devkit.describing.description import PlatformDescription, ServiceDescription, Subscription
from devkit.rendering.artifact import Artifact, yaml_text
from devkit.rendering.json_schema import message_schemas

__all__ = ["artifacts"]

_HEADERS = "cloudevent"
_LANE = "lane"
_KINDS = {
    "one": "Handled one by one",
    "batch": "Handled in batches",
    "async": "Handled one by one, by an asynchronous handler",
    "broadcast": "Received by every replica",
}


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield a document for each service that publishes or consumes events."""
    for service in platform.services:
        if service.publishes or service.subscribes:
            text = yaml_text("the .proto files and service.py", _document(platform, service))
            yield Artifact(Path(service.folder, "deploy/asyncapi.yaml"), text)


def _document(platform: PlatformDescription, service: ServiceDescription) -> dict[str, Any]:
    """Return the AsyncAPI document of a service."""
    messages = {type: type for type in service.publishes}
    messages |= {each.type: each.message for each in service.subscribes}
    foreign = {each.type: each for each in service.subscribes if each.foreign}
    published = set(service.publishes)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Events of {service.name}",
            "version": service.version,
            "description": _description(service),
        },
        "defaultContentType": "application/protobuf",
        "channels": {
            type: _foreign_channel(foreign[type])
            if type in foreign
            else _channel(type, service.name if type in published else _producer(type))
            for type in sorted(messages)
        },
        "operations": dict(_operations(service)),
        "components": {
            "messages": {type: _message(type, name) for type, name in sorted(messages.items())},
            "parameters": {_LANE: _lane_parameter(platform.lanes)},
            "messageTraits": {_HEADERS: _cloudevent_headers()},
            "schemas": message_schemas(map(_descriptor, messages.values())),
        },
    }


def _description(service: ServiceDescription) -> str:
    consumed = {each.type for each in service.subscribes}
    return (
        f"{service.name} publishes {len(service.publishes)} types of events and consumes"
        f" {len(consumed)} over NATS JetStream. Data are protobuf, or JSON if the producer's"
        " APP_EVENT_FORMAT is json; the schemas describe the JSON."
    )


def _channel(type: str, producer: str) -> dict[str, Any]:
    """Return the channel of an event type of the platform."""
    return {
        "address": f"{type}.{{lane}}",
        "title": type.rpartition(".")[2],
        "description": f"Subjects of the stream {producer}, to which {producer} publishes.",
        "parameters": {"lane": {"$ref": f"#/components/parameters/{_LANE}"}},
        "messages": _channel_messages(type),
    }


def _lane_parameter(lanes: int) -> dict[str, Any]:
    return {
        "description": "chosen by the partition key; events with the same key are in order",
        "enum": [str(lane) for lane in range(lanes)],
    }


def _foreign_channel(subscription: Subscription) -> dict[str, Any]:
    """Return the channel of an event type of a producer outside the platform."""
    assert subscription.foreign is not None
    stream, subject = subscription.foreign.stream, subscription.foreign.subject
    return {
        "address": subject,
        "title": subscription.type,
        "description": f"Subjects of the stream {stream} of a producer outside the platform.",
        "messages": _channel_messages(subscription.type),
    }


def _channel_messages(type: str) -> dict[str, Any]:
    return {type: {"$ref": f"#/components/messages/{type}"}}


def _producer(type: str) -> str:
    from chassis.events.wire.contracts import source_service

    return source_service(type)


def _operations(service: ServiceDescription) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and content of each operation: a type that is published or consumed."""
    for type in sorted(service.publishes):
        yield f"publish-{type}", _operation("send", type, f"Published by {service.name}")
    kinds: dict[str, list[str]] = {}
    for subscription in service.subscribes:
        kinds.setdefault(subscription.type, []).append(_KINDS[subscription.kind])
    for type, found in sorted(kinds.items()):
        yield f"receive-{type}", _operation("receive", type, "; ".join(dict.fromkeys(found)))


def _operation(action: str, type: str, summary: str) -> dict[str, Any]:
    """Return an operation, whose `action` is send or receive."""
    channel = f"#/channels/{type}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "summary": f"{summary}.",
        "messages": [{"$ref": f"{channel}/messages/{type}"}],
    }


def _message(type: str, name: str) -> dict[str, Any]:
    """Return the message of an event type; `name` is that of its Protobuf message."""
    from slipway.v1 import partition_key

    key = _descriptor(name).GetOptions().Extensions[partition_key]
    return {
        "name": type,
        "title": type.rpartition(".")[2],
        **({"summary": f"The partition key is {key}."} if key else {}),
        "traits": [{"$ref": f"#/components/messageTraits/{_HEADERS}"}],
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }


def _cloudevent_headers() -> dict[str, Any]:
    """Return the schema of the headers that chassis.events.wire.encoding writes."""
    text = {"type": "string"}
    headers = {
        "ce-specversion": {"const": "1.0"},
        "ce-id": text,
        "ce-type": text,
        "ce-source": {"type": "string", "description": "service that published the event"},
        "ce-time": {"type": "string", "format": "date-time"},
        "ce-datacontenttype": text,
        "ce-subject": text,
        "ce-partitionkey": text,
        "ce-correlationid": {"type": "string", "description": "id of the first event of the chain"},
        "ce-causationid": {"type": "string", "description": "id of the event that caused this one"},
        "ce-traceparent": text,
        "ce-tracestate": text,
    }
    required = ["ce-specversion", "ce-id", "ce-type", "ce-source"]
    return {
        "summary": "A CloudEvent in binary mode, with its attributes in the headers.",
        "headers": {"type": "object", "required": required, "properties": headers},
    }


def _descriptor(name: str) -> Any:
    """Return the message of that name; the service that declares it has imported its contract."""
    from google.protobuf import descriptor_pool

    return descriptor_pool.Default().FindMessageTypeByName(name)
