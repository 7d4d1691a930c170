"""Fills a stream with orders by the relay, and keeps them as sent events in the outbox.

The rows are those that `Transaction.publish` writes, and repeat with other ids, because a million
events would take too long to make one by one.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any

from google.protobuf.json_format import ParseDict

from bench.event_node import EventNode
from bench.meter import Meter
from bench.worker import Check, Work, run
from chassis import Transaction
from chassis.database import outbox_rows
from chassis.database.outbox_rows import OutboxRow
from chassis.events.producer.event_factory import EventFactory
from chassis.ids import uuid7
from shop.orders.v1 import OrderPlaced

_AT_ONCE = 10_000
_SECONDS = 240.0


async def fill(work: Work, meter: Meter) -> Check:
    """Add `count` orders to the stream of earlier runs, or to a new one."""
    orders = islice(work.read_orders(), work.count)
    made = [_row(order, work.around.get("bytes", 0)) for order in orders]
    rows = islice(_with_other_ids(made), work.count)
    node = EventNode("orders", work.database, work.nats, publishes=[OrderPlaced])
    await node.start(keeps_stream=True)
    while some := list(islice(rows, _AT_ONCE)):
        await node.database.transaction(partial(_insert, some))
        await node.flush(_SECONDS)
    await node.close()
    meter.mark(work.count)
    return {}


def _row(order: dict[str, Any], more_bytes: int) -> OutboxRow:
    """Return an order as a row of the outbox, with this number of further bytes."""
    message = ParseDict(order, OrderPlaced())
    message.customer_id += "." * more_bytes
    return EventFactory("orders", (OrderPlaced,)).create(message, None)[1]


def _with_other_ids(rows: Sequence[OutboxRow]) -> Iterator[OutboxRow]:
    """Yield the rows again and again, each with an id that no other has."""
    for row in cycle(rows):
        id = uuid7()
        headers = row.headers.replace(row.event_id.encode(), id.encode())
        yield row._replace(event_id=id, headers=headers)


def _insert(rows: Sequence[OutboxRow], tx: Transaction) -> None:
    outbox_rows.insert(tx.session.connection(), rows)


if __name__ == "__main__":
    run(fill)
