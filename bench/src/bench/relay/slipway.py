"""The relay of this platform. It is connected and idle, and then woken once for all events."""

from collections.abc import Sequence
from functools import partial

import nats
from google.protobuf.message import Message

from bench.event_node import EventNode
from bench.meter import Meter
from bench.relay.rows import found, read_rows, stored_data
from bench.worker import Check, Work, run
from chassis import Transaction
from chassis.database import Database
from chassis.event_settings import EventSettings
from shop.orders.v1 import OrderPlaced

_AT_ONCE = 1000
_WARM = 20


async def relay(work: Work, meter: Meter) -> Check:
    """Relay the events of the outbox."""
    orders = _messages(work)
    node = EventNode(
        "orders",
        work.database,
        work.nats,
        publishes=[OrderPlaced],
        settings=EventSettings(relay_sweep_seconds=600),
    )
    # Commits of another object do not wake the relay.
    database = Database(work.database, node.database.events)
    await node.start()
    await node.database.transaction(partial(_publish, orders[:_WARM]))
    await node.flush(60)
    for begin in range(_WARM, len(orders), _AT_ONCE):
        await database.transaction(partial(_publish, orders[begin : begin + _AT_ONCE]))
    meter.mark(_WARM)
    await node.flush(120)
    meter.mark(len(orders))
    database.close()
    await node.close()
    client = await nats.connect(work.nats)
    check = found(await stored_data(client.jetstream(), "orders", "shop.orders.v1.>"))
    await client.close()
    return check


def _messages(work: Work) -> list[Message]:
    return [OrderPlaced.FromString(row.data) for row in read_rows(work.orders, work.count)]


def _publish(messages: Sequence[Message], tx: Transaction) -> None:
    for message in messages:
        tx.publish(message)


if __name__ == "__main__":
    run(relay)
