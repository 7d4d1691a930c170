"""Encoding and decoding by this platform.

An event is encoded to what the outbox stores: the text of all headers, and the data.
"""

import json
from collections.abc import Callable

from bench.cloudevents.sample import EventSample
from chassis.events.producer.header_text import header_text
from chassis.events.wire.context import EventContext
from chassis.events.wire.decoding import decode
from chassis.events.wire.encoding import to_structured
from chassis.events.wire.event_data import EventFormat, from_data, to_data
from chassis.telemetry.trace_context import TraceContext
from shop.orders.v1 import OrderPlaced

__all__ = ["operations"]

_NO_SPAN = TraceContext()
_STRUCTURED = {"Content-Type": "application/cloudevents+json"}


def operations(sample: EventSample) -> dict[str, Callable[[], tuple[str, str]]]:
    """Return the operations by name. Each returns the event's id and the order's."""

    attributes, time, message = sample.attributes, sample.time, sample.message
    id, type, source = attributes["id"], attributes["type"], attributes["source"]
    key, correlation = attributes["subject"], attributes["correlationid"]
    traceparent = attributes["traceparent"]

    def context() -> EventContext:
        return EventContext(
            id,
            type,
            source,
            key,
            time,
            partition_key=key,
            correlation_id=correlation,
            traceparent=traceparent,
        )

    def encoding(format: EventFormat) -> Callable[[], tuple[str, str]]:
        def run() -> tuple[str, str]:
            content_type, _data = to_data(message, format)
            header_text(context(), content_type, _NO_SPAN)
            return id, key

        return run

    def encoded(format: EventFormat) -> tuple[dict[str, str], bytes]:
        content_type, data = to_data(message, format)
        return json.loads(header_text(context(), content_type, _NO_SPAN)), data

    def decoding(headers: dict[str, str], data: bytes) -> Callable[[], tuple[str, str]]:
        def run() -> tuple[str, str]:
            received = decode(headers, data)
            order = from_data(OrderPlaced, received.datacontenttype, received.data)
            return received.context.id, order.order_id

        return run

    def encode_structured() -> tuple[str, str]:
        to_structured(context(), message)
        return id, key

    return {
        "encode protobuf": encoding("protobuf"),
        "decode protobuf": decoding(*encoded("protobuf")),
        "encode json": encoding("json"),
        "decode json": decoding(*encoded("json")),
        "encode structured": encode_structured,
        "decode structured": decoding(_STRUCTURED, to_structured(context(), message)),
    }
