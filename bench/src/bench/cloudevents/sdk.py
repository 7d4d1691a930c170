"""Encoding and decoding by the CloudEvents SDK, with its HTTP binding.

The SDK has no binding for NATS and no data but JSON and bytes, so its data are JSON.
"""

from collections.abc import Callable

from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from bench.cloudevents.sample import EventSample

__all__ = ["operations"]


def operations(sample: EventSample) -> dict[str, Callable[[], tuple[str, str]]]:
    """Return the operations by name. Each returns the event's id and the order's."""
    format = JSONFormat()
    attributes, time, order = sample.attributes, sample.time, sample.order

    def event() -> CloudEvent:
        return CloudEvent(
            {**attributes, "time": time, "datacontenttype": "application/json"}, order
        )

    def encode_binary() -> tuple[str, str]:
        message = http.to_binary(event(), format)
        return message.headers["ce-id"], message.headers["ce-subject"]

    def encode_structured() -> tuple[str, str]:
        http.to_structured(event(), format)
        return attributes["id"], order["order_id"]

    binary = http.to_binary(event(), format)
    structured = http.to_structured(event(), format)

    def decode_binary() -> tuple[str, str]:
        return _ids(http.from_binary(binary, format))

    def decode_structured() -> tuple[str, str]:
        return _ids(http.from_structured(structured, format))

    return {
        "encode binary": encode_binary,
        "decode binary": decode_binary,
        "encode structured": encode_structured,
        "decode structured": decode_structured,
    }


def _ids(event: object) -> tuple[str, str]:
    assert isinstance(event, CloudEvent)
    data = event.get_data()
    assert isinstance(data, dict)
    return event.get_id(), data["order_id"]
