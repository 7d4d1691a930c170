"""Fills the streams: the orders as this platform publishes them, and as JSON for the others."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import nats
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from nats.js.api import StorageType, StreamConfig

from bench.event_node import EventNode
from bench.handlers.streams import PEER_STREAM, PEER_SUBJECT
from bench.meter import Meter
from bench.worker import Check, Work, run
from chassis import Transaction
from shop.orders.v1 import OrderPlaced

_AT_ONCE = 500
_SECONDS = 240.0


async def fill(work: Work, meter: Meter) -> Check:
    """Publish the orders."""
    orders = work.read_orders()
    node = await EventNode("orders", work.database, work.nats, publishes=[OrderPlaced]).start()
    for begin in range(0, len(orders), _AT_ONCE):
        messages = [ParseDict(order, OrderPlaced()) for order in orders[begin : begin + _AT_ONCE]]
        await node.database.transaction(partial(_publish, messages))
    await node.flush(_SECONDS)
    await node.close()
    await _fill_for_peers(orders, work.nats)
    meter.mark(len(orders))
    return {}


async def _fill_for_peers(orders: Sequence[dict[str, Any]], nats_url: str) -> None:
    """Publish the orders as JSON."""
    client = await nats.connect(nats_url)
    stream = client.jetstream(publish_async_max_pending=2000)
    await stream.add_stream(
        StreamConfig(name=PEER_STREAM, subjects=[PEER_SUBJECT], storage=StorageType.FILE)
    )
    for order in orders:
        await stream.publish_async(PEER_SUBJECT, _cloud_event(order))
    await stream.publish_async_completed()
    await client.close()


def _publish(messages: Sequence[Message], tx: Transaction) -> None:
    for message in messages:
        tx.publish(message)


def _cloud_event(order: dict[str, Any]) -> bytes:
    """Return an order as a CloudEvent in structured mode."""
    event = {
        "specversion": "1.0",
        "id": f"event of {order['order_id']}",
        "source": "orders",
        "type": "shop.orders.v1.OrderPlaced",
        "subject": order["order_id"],
        "partitionkey": order["order_id"],
        "correlationid": order["order_id"],
        "time": order["placed_at"],
        "datacontenttype": "application/json",
        "data": order,
    }
    return json.dumps(event, separators=(",", ":")).encode()


if __name__ == "__main__":
    run(fill)
