"""An event as it arrived at a consumer: its place in the stream, and its content."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from chassis.database.tables import LONGEST_NAME
from chassis.events.consumer.position import Position, position_of
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.decode import message_of, trace_of
from chassis.events.handlers.failures import reason_of
from chassis.events.jetstream.delivery import Delivery
from chassis.events.wire.attributes import Undecodable
from chassis.events.wire.context import EventContext
from chassis.events.wire.decoding import Received, decode
from chassis.telemetry import tracing
from chassis.telemetry.trace_context import TraceContext

__all__ = ["Arrival", "arrival_of", "decode_arrival", "set_content"]

_NO_TRACE = TraceContext()


@dataclass(slots=True)
class Arrival:
    """An event that was delivered. `reason` says why it cannot be decoded, once that was tried.

    `foreign_subject` is the subject by which a handler subscribes to an event of a foreign
    producer, and empty for events of the platform.
    """

    subject: str
    type: str
    lane: int
    position: Position
    headers: Mapping[str, str]
    data: bytes
    suspect: bool = False
    context: EventContext | None = None
    message: Message | None = None
    reason: str = field(default="")
    foreign_subject: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The source and partition key within which events keep their order."""
        assert self.context is not None
        key = self.context.partition_key or self.context.subject or ""
        # A foreign event without a key has no order to keep, so that its id serves as a key.
        return self.context.source, key or (self.context.id if self.foreign_subject else "")

    @property
    def position_subject(self) -> str:
        """The subject whose position this event moves."""
        return self.foreign_subject or self.subject

    @property
    def event_id(self) -> str:
        """The event's CloudEvents id; empty if the event cannot be decoded."""
        return self.context.id if self.context else ""

    @property
    def trace(self) -> TraceContext:
        """The span that published the event."""
        if not tracing.enabled and "traceparent" not in self.headers:
            # Events without a trace must not cost a search of the headers.
            return _NO_TRACE
        return trace_of(self.headers)

    def to_row(self) -> dict[str, Any]:
        """Return the columns that a task and a dead letter have in common."""
        source, key = self.key if self.context else ("", "")
        return {
            "source": source,
            "key": key,
            "event_id": self.event_id,
            "type": self.type,
            "subject": self.subject,
            "headers": json.dumps(dict(self.headers)).encode(),
            "data": self.data,
        }


def arrival_of(message: Delivery) -> Arrival | None:
    """Return the event of a delivered message; None if it has no number or is a copy."""
    headers = message.headers
    type, _, lane = message.subject.rpartition(".")
    # The reply subject of a delivery contains the stream's sequence (ADR-15).
    tokens = message.reply.split(".")
    if not (lane.isascii() and lane.isdigit()) or len(tokens) < 9:
        return None
    position = position_of(headers, int(tokens[-4]))
    if not position.number:
        return None
    return Arrival(message.subject, type, int(lane), position, headers, message.data)


def decode_arrival(arrival: Arrival, handler: Handler) -> None:
    """Decode an event unless that was done already; set `reason` if it cannot be decoded."""
    if arrival.message is not None or arrival.reason:
        return
    try:
        received = decode(arrival.headers, arrival.data)
    except Undecodable as error:
        arrival.reason = reason_of(error)
    else:
        set_content(arrival, received, handler)


def set_content(arrival: Arrival, received: Received, handler: Handler) -> None:
    """Set context and message of a received CloudEvent; set `reason` if its data are invalid."""
    try:
        if received.context.type != arrival.type:
            raise Undecodable(f"its type is {received.context.type}, its subject {arrival.subject}")
        _check_storable(received.context)
        arrival.context = received.context
        arrival.message = message_of(received, handler)
    except Undecodable as error:
        arrival.reason = reason_of(error)


def _check_storable(context: EventContext) -> None:
    """Raise Undecodable if an attribute does not fit into its database column."""
    key = context.partition_key or context.subject or ""
    text = f"{context.id}{context.source}{key}"
    if len(text) <= LONGEST_NAME and "\x00" not in text:
        return
    for name, value in (("id", context.id), ("source", context.source), ("partitionkey", key)):
        if len(value) > LONGEST_NAME or "\x00" in value:
            raise Undecodable(f"its {name} is not a text of at most {LONGEST_NAME} characters")
