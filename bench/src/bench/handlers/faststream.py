"""The handlers on FastStream: with the usual inbox and outbox by SQLAlchemy's asynchronous layer
("effect-once"), or empty, without a database and without guarantees ("empty").
"""

import asyncio
import uuid
from typing import Any

import orjson
import sqlalchemy as sa
from faststream.nats import JStream, NatsBroker, PullSub
from nats.js.api import AckPolicy, ConsumerConfig
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.handlers.accounts import ACCOUNTS, account_of, found
from bench.handlers.streams import PEER_STREAM, PEER_SUBJECT
from bench.meter import Meter
from bench.sql import make_engine, metadata, note_event, outbox
from bench.worker import Check, Work, run

accounts = sa.Table(
    "account",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("orders", sa.Integer),
)
_CONSUMER = "inventory"
_ADD_ONE = (
    accounts.update()
    .where(accounts.c.id == sa.bindparam("account"))
    .values(orders=accounts.c.orders + 1)
)
_PUBLISH = outbox.insert().inline()


async def handle(work: Work, meter: Meter) -> Check:
    """Handle the events of the stream."""
    engine = make_engine(work.database)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        rows = [{"id": id, "orders": 0} for id in range(ACCOUNTS)]
        await connection.execute(accounts.insert(), rows)
    note = note_event(engine.dialect.name)
    handled = 0
    done = asyncio.Event()

    def count() -> None:
        nonlocal handled
        handled += 1
        if handled == work.warm:
            meter.mark(handled)
        if handled == work.count:
            meter.mark(handled)
            done.set()

    async def reserve(received: dict[str, Any]) -> None:
        order = received["data"]
        async with engine.begin() as connection:
            noted = {"consumer": _CONSUMER, "event_id": received["id"]}
            if (await connection.execute(note, noted)).rowcount:
                await connection.execute(_ADD_ONE, {"account": account_of(order["order_id"])})
                await connection.execute(_PUBLISH, _reserved(received))
        count()

    async def nothing(received: dict[str, Any]) -> None:
        count()

    broker = NatsBroker(work.nats, logger=None)
    durable = f"bench-{uuid.uuid4().hex}"
    subscribe = broker.subscriber(
        PEER_SUBJECT,
        stream=JStream(PEER_STREAM, declare=False),
        durable=durable,
        config=ConsumerConfig(
            durable_name=durable, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=5000
        ),
        pull_sub=PullSub(batch_size=100),
    )
    subscribe(nothing if work.variant == "empty" else reserve)
    await broker.start()
    await asyncio.wait_for(done.wait(), 240)
    await broker.stop()
    check = {} if work.variant == "empty" else await _read_check(engine)
    await engine.dispose()
    return check


def _reserved(received: dict[str, Any]) -> dict[str, Any]:
    """Return the row of the event that answers an order."""
    order = received["data"]
    id = str(uuid.uuid4())
    event = {
        "specversion": "1.0",
        "id": id,
        "source": _CONSUMER,
        "type": "shop.inventory.v1.StockReserved",
        "subject": order["order_id"],
        "time": "2026-01-01T00:00:00Z",
        "correlationid": received["correlationid"],
        "causationid": received["id"],
        "data": {name: order[name] for name in ("order_id", "customer_id", "total")},
    }
    return {"event_id": id, "subject": "stock.reserved", "payload": orjson.dumps(event)}


async def _read_check(engine: AsyncEngine) -> Check:
    async with engine.connect() as connection:
        rows = await connection.execute(sa.select(accounts.c.id, accounts.c.orders))
        balances = {id: orders for id, orders in rows if orders}
        payloads = await connection.execute(sa.select(outbox.c.payload))
        events = [orjson.loads(payload)["data"] for (payload,) in payloads]
    published = [(data["order_id"], int(data["total"]["amount"])) for data in events]
    return found(sum(balances.values()), balances, published)


if __name__ == "__main__":
    run(handle)
