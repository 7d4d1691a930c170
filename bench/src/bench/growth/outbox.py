"""The relay behind an outbox of sent events.

Variants: "fill" publishes and relays events; "one at a time" relays single events after them.
"""

from collections.abc import Sequence
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

_AT_ONCE = 1000
_SECONDS = 240.0


async def relay(work: Work, meter: Meter) -> Check:
    """Publish events to the stream that earlier runs have left, and relay them."""
    orders = [ParseDict(order, OrderPlaced()) for order in work.read_orders()]
    events = list(islice(cycle(orders), work.count))
    node = EventNode("orders", work.database, work.nats, publishes=[OrderPlaced])
    await node.start(keeps_stream=True)
    size = _AT_ONCE if work.variant == "fill" else 1
    done = 0
    while done < len(events):
        some = events[done : done + size]
        await node.database.transaction(partial(_publish, some))
        await node.flush(_SECONDS)
        before, done = done, done + len(some)
        if before < work.warm <= done:
            meter.mark(done)
    meter.mark(done)
    in_outbox = await node.database.read(_count)
    in_stream = (await node.path.broker.client.jetstream().stream_info("orders")).state.messages
    await node.close()
    return {"in outbox": in_outbox, "in stream": in_stream}


def _publish(events: Sequence[OrderPlaced], tx: Transaction) -> None:
    for event in events:
        tx.publish(event)


def _count(tx: ReadTransaction) -> int:
    return tx.session.execute(select(func.count()).select_from(tables.outbox)).scalar_one()


if __name__ == "__main__":
    run(relay)
