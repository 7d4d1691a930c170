"""Arguments of a handler, decoded from the headers and data of an event."""

import json
from collections.abc import Mapping

from google.protobuf.message import Message

from chassis.events.handlers.binding import Handler
from chassis.events.wire import event_headers
from chassis.events.wire.context import EventContext
from chassis.events.wire.decoding import Received, decode
from chassis.events.wire.event_data import from_data
from chassis.telemetry.trace_context import TraceContext

__all__ = ["message_of", "read_stored", "trace_of"]


def read_stored(
    headers: bytes, data: bytes, handler: Handler
) -> tuple[EventContext, Message, TraceContext]:
    """Decode an event from a task's row; return its attributes, message and publishing span.

    Raises:
        Undecodable: this version of the service cannot decode it.
    """
    stored: Mapping[str, str] = json.loads(headers)
    received = decode(stored, data)
    return received.context, message_of(received, handler), trace_of(stored)


def message_of(received: Received, handler: Handler) -> Message:
    """Decode the data of an event as the handler's type of message.

    Raises:
        Undecodable: the data is not a valid message of this type.
    """
    return from_data(handler.message, received.datacontenttype, received.data)


def trace_of(headers: Mapping[str, str]) -> TraceContext:
    """Return the span that published an event with these headers."""
    return TraceContext(
        event_headers.header(headers, "traceparent"), event_headers.header(headers, "tracestate")
    )
