"""Fills the streams: the orders as this platform publishes them, and as JSON for the others."""

import json
from collections.abc import Sequence
from functools import partial

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


async def fill(work: Work, meter: Meter) -> Check:
    """Publish all orders twice."""
    orders = work.read_orders()
    messages = [ParseDict(order, OrderPlaced()) for order in orders]
    node = await EventNode("orders", work.database, work.nats, publishes=[OrderPlaced]).start()
    for begin in range(0, len(messages), _AT_ONCE):
        some = messages[begin : begin + _AT_ONCE]
        await node.database.transaction(partial(_publish, some))
    await node.path.flush(120)
    await node.close()

    client = await nats.connect(work.nats)
    stream = client.jetstream(publish_async_max_pending=2000)
    await stream.add_stream(
        StreamConfig(name=PEER_STREAM, subjects=[PEER_SUBJECT], storage=StorageType.FILE)
    )
    for order in orders:
        await stream.publish_async(PEER_SUBJECT, _cloud_event(order))
    await stream.publish_async_completed()
    await client.close()
    meter.mark(len(orders))
    return {}


def _publish(messages: Sequence[Message], tx: Transaction) -> None:
    for message in messages:
        tx.publish(message)


def _cloud_event(order: dict[str, object]) -> bytes:
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
