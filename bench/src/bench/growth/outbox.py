"""The relay behind an outbox of sent events: single events are published and relayed after them."""

from functools import partial
from itertools import cycle, islice

from google.protobuf.json_format import ParseDict
from sqlalchemy import func, select

from bench.event_node import EventNode
from bench.meter import Meter
from bench.worker import Check, Work, run
from chassis import Transaction
from chassis.database import ReadTransaction, tables
from shop.orders.v1 import OrderPlaced

_SECONDS = 240.0


async def relay(work: Work, meter: Meter) -> Check:
    """Publish an event to the stream that earlier runs have left, when the one before was sent."""
    orders = [ParseDict(order, OrderPlaced()) for order in work.read_orders()]
    events = list(islice(cycle(orders), work.count))
    node = EventNode("orders", work.database, work.nats, publishes=[OrderPlaced])
    await node.start(keeps_stream=True)
    for done, event in enumerate(events, start=1):
        await node.database.transaction(partial(_publish, event))
        await node.flush(_SECONDS)
        if done == work.warm:
            meter.mark(done)
    meter.mark(len(events))
    in_outbox = await node.database.read(_count)
    in_stream = (await node.path.broker.client.jetstream().stream_info("orders")).state.messages
    await node.close()
    return {"in outbox": in_outbox, "in stream": in_stream}


def _publish(event: OrderPlaced, tx: Transaction) -> None:
    tx.publish(event)


def _count(tx: ReadTransaction) -> int:
    return tx.session.execute(select(func.count()).select_from(tables.outbox)).scalar_one()


if __name__ == "__main__":
    run(relay)
