"""What a handler is called with, decoded from what an event's headers and data say."""

import json
from collections.abc import Mapping

from google.protobuf.message import Message

from chassis.events.handlers.binding import Handler
from chassis.events.wire import transport
from chassis.events.wire.context import EventContext
from chassis.events.wire.decoding import Received, decode
from chassis.events.wire.event_data import from_data
from chassis.telemetry.trace_context import TraceContext

__all__ = ["message_of", "read_stored", "trace_of"]


def read_stored(
    headers: bytes, data: bytes, handler: Handler
) -> tuple[EventContext, Message, TraceContext]:
    """Decode an event from a task's row: attributes, message, publishing span.

    Raises:
        Undecodable: this version cannot.
    """
    stored: Mapping[str, str] = json.loads(headers)
    received = decode(stored, data)
    return received.context, message_of(received, handler), trace_of(stored)


def message_of(received: Received, handler: Handler) -> Message:
    """Decode the data as the message that the handler takes.

    Raises:
        Undecodable: it is no such message.
    """
    return from_data(handler.message, received.datacontenttype, received.data)


def trace_of(headers: Mapping[str, str]) -> TraceContext:
    """The span that published an event with these headers."""
    return TraceContext(
        transport.header(headers, "traceparent"), transport.header(headers, "tracestate")
    )
