"""The order that is encoded and decoded, and its event's attributes."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from google.protobuf.json_format import ParseDict

from bench.worker import Work
from shop.orders.v1 import OrderPlaced

__all__ = ["EventSample"]

_TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_LINES = 5
"""The median of the sample's baskets."""


@dataclass(frozen=True)
class EventSample:
    """One order of the file of orders, as an event."""

    orders: str

    @cached_property
    def order(self) -> dict[str, Any]:
        """The order in the form of the contract's JSON."""
        orders = Work(orders=self.orders).read_orders()
        return next((o for o in orders if len(o["lines"]) == _LINES), orders[0])

    @cached_property
    def message(self) -> OrderPlaced:
        """The order as the contract's message."""
        return ParseDict(self.order, OrderPlaced())

    @property
    def id(self) -> str:
        """The event's id."""
        return "0193e5a0-7b1c-7c3a-9a43-3f2b6a1d9e10"

    @property
    def time(self) -> datetime:
        """The event's time."""
        return datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The attributes and extensions, without the content type and the time."""
        key = self.order["order_id"]
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": "orders",
            "type": OrderPlaced.DESCRIPTOR.full_name,
            "subject": key,
            "partitionkey": key,
            "correlationid": self.id,
            "traceparent": _TRACEPARENT,
        }

    def size(self) -> tuple[int, int]:
        """Return the bytes of the data as protobuf and as JSON."""
        return self.message.ByteSize(), len(json.dumps(self.order, separators=(",", ":")))
