"""An event as it arrived at a consumer: its place in the stream, and what it says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from nats.aio.msg import Msg

from chassis.database.tables import LONGEST_NAME
from chassis.events.consumer.positions import Position, position_of
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.decode import message_of, trace_of
from chassis.events.handlers.failures import reason_of
from chassis.events.wire.cloudevents import Received, Undecodable, decode
from chassis.events.wire.context import EventContext
from chassis.telemetry import tracing
from chassis.telemetry.trace_context import TraceContext

__all__ = ["Arrival", "arrival_of", "fill", "read"]


@dataclass(slots=True)
class Arrival:
    """`reason` says why it cannot be decoded, once it has been read.

    An event of a foreign producer has the subject by which it is asked for in `asked_by`.
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
    asked_by: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What keeps its order: the key, of one producer."""
        assert self.context is not None
        key = self.context.partition_key or self.context.subject or ""
        # What a foreign producer gives no key has no order to keep.
        return self.context.source, key or (self.context.id if self.asked_by else "")

    @property
    def place(self) -> str:
        """Of which position it is the next."""
        return self.asked_by or self.subject

    @property
    def event_id(self) -> str:
        """Its CloudEvents id; empty if it cannot be decoded."""
        return self.context.id if self.context else ""

    @property
    def published(self) -> TraceContext:
        """The span that published it."""
        if not tracing.enabled and "traceparent" not in self.headers:
            return TraceContext()  # not looked for in any other case: no trace is to cost nothing
        return trace_of(self.headers)

    def row(self) -> dict[str, Any]:
        """The event as a task or a dead letter keeps it."""
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


def arrival_of(message: Msg) -> Arrival | None:
    """A delivered message; None for one without a number, and for a copy of an event."""
    headers = message.headers or {}
    type, _, lane = message.subject.rpartition(".")
    # The reply subject of a delivery tells the stream's sequence (ADR-15).
    tokens = message.reply.split(".")
    if not (lane.isascii() and lane.isdigit()) or len(tokens) < 9:
        return None
    position = position_of(headers, int(tokens[-4]))
    if not position.number:
        return None
    return Arrival(message.subject, type, int(lane), position, headers, message.data)


def read(arrival: Arrival, handler: Handler) -> None:
    """Decode what the event says, once; what cannot be decoded keeps the reason."""
    if arrival.message is not None or arrival.reason:
        return
    try:
        fill(arrival, decode(arrival.headers, arrival.data), handler)
    except Undecodable as error:
        arrival.reason = reason_of(error)


def fill(arrival: Arrival, received: Received, handler: Handler) -> None:
    """The same for what has been decoded but for its data."""
    try:
        if received.context.type != arrival.type:
            raise Undecodable(f"its type is {received.context.type}, its subject {arrival.subject}")
        _check_storable(received.context)
        arrival.context = received.context
        arrival.message = message_of(received, handler)
    except Undecodable as error:
        arrival.reason = reason_of(error)


def _check_storable(context: EventContext) -> None:
    key = context.partition_key or context.subject or ""
    for name, value in (("id", context.id), ("source", context.source), ("partitionkey", key)):
        if len(value) > LONGEST_NAME or "\x00" in value:
            raise Undecodable(f"its {name} is no text of at most {LONGEST_NAME} characters")
