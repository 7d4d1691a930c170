"""Encoding and decoding by this platform."""

from collections.abc import Callable

from bench.cloudevents.sample import EventSample
from chassis.events.wire.context import EventContext
from chassis.events.wire.decoding import decode
from chassis.events.wire.encoding import encode, to_structured
from chassis.events.wire.event_data import EventFormat, from_data, to_data
from shop.orders.v1 import OrderPlaced

__all__ = ["operations"]

_STRUCTURED = {"Content-Type": "application/cloudevents+json"}


def operations(sample: EventSample) -> dict[str, Callable[[], tuple[str, str]]]:
    """Return the operations by name. Each returns the event's id and the order's."""

    def context() -> EventContext:
        attributes = sample.attributes
        return EventContext(
            id=attributes["id"],
            source=attributes["source"],
            type=attributes["type"],
            subject=attributes["subject"],
            partition_key=attributes["partitionkey"],
            time=sample.time,
            correlation_id=attributes["correlationid"],
            traceparent=attributes["traceparent"],
        )

    def encoded(format: EventFormat) -> tuple[dict[str, str], bytes]:
        content_type, data = to_data(sample.message, format)
        return encode(context(), content_type), data

    def encoding(format: EventFormat) -> Callable[[], tuple[str, str]]:
        def run() -> tuple[str, str]:
            headers, _data = encoded(format)
            return headers["ce-id"], headers["ce-subject"]

        return run

    def decoding(headers: dict[str, str], data: bytes) -> Callable[[], tuple[str, str]]:
        def run() -> tuple[str, str]:
            received = decode(headers, data)
            order = from_data(OrderPlaced, received.datacontenttype, received.data)
            return received.context.id, order.order_id

        return run

    def encode_structured() -> tuple[str, str]:
        to_structured(context(), sample.message)
        return sample.id, sample.message.order_id

    return {
        "encode protobuf": encoding("protobuf"),
        "decode protobuf": decoding(*encoded("protobuf")),
        "encode json": encoding("json"),
        "decode json": decoding(*encoded("json")),
        "encode structured": encode_structured,
        "decode structured": decoding(_STRUCTURED, to_structured(context(), sample.message)),
    }
