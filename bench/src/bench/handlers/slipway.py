"""The handlers on this platform: of single events (`def`) and of lists (`on_batch`)."""

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import Column, Integer, MetaData, Table, bindparam, insert, select, text, update

from bench.event_node import EventNode
from bench.handlers.accounts import ACCOUNTS, account_of, found
from bench.handlers.surroundings import add_dead_letters, add_tasks, subscribe
from bench.meter import Meter
from bench.worker import Check, Work, run
from chassis import EventContext, EventRouter, Transaction
from chassis.database import ReadTransaction, tables
from chassis.events.wire.contracts import event_type
from shop.inventory.v1 import StockReserved
from shop.orders.v1 import OrderPlaced

__all__ = ["ROUTERS", "metadata", "one_by_one", "open_accounts", "read_check"]

metadata = MetaData()
accounts = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("orders", Integer, nullable=False),
)
_ADD_ONE = (
    update(accounts)
    .where(accounts.c.id == bindparam("account"))
    .values(orders=accounts.c.orders + 1)
)
_ADD_MANY = {
    "postgresql": text(
        "UPDATE account SET orders = orders + added.count"
        " FROM (SELECT id, count(*) AS count FROM unnest(CAST(:ids AS int[])) AS id GROUP BY id)"
        " AS added WHERE account.id = added.id"
    ),
    "sqlite": text(
        "UPDATE account SET orders = orders + added.count"
        " FROM (SELECT value AS id, count(*) AS count FROM json_each(:ids) GROUP BY value)"
        " AS added WHERE account.id = added.id"
    ),
}

Count = Callable[[Transaction, int], None]


def one_by_one(count: Count, account: Callable[[str], int] = account_of) -> EventRouter:
    """Return a handler of single events, whose orders belong to the accounts of `account`."""
    events = EventRouter()

    @events.on(OrderPlaced)
    def reserve(order: OrderPlaced, tx: Transaction) -> None:
        tx.session.execute(_ADD_ONE, {"account": account(order.order_id)})
        tx.publish(_reserved(order))
        count(tx, 1)

    return events


def in_lists(count: Count) -> EventRouter:
    """Return a handler of lists of events."""
    events = EventRouter()

    @events.on_batch(OrderPlaced)
    def reserve(
        orders: Sequence[OrderPlaced], contexts: Sequence[EventContext], tx: Transaction
    ) -> None:
        ids = [account_of(order.order_id) for order in orders]
        dialect = tx.session.get_bind().dialect.name
        tx.session.execute(
            _ADD_MANY[dialect], {"ids": ids if dialect == "postgresql" else json.dumps(ids)}
        )
        for order, context in zip(orders, contexts, strict=True):
            tx.publish(_reserved(order), cause=context)
        count(tx, len(orders))

    return events


def _reserved(order: OrderPlaced) -> StockReserved:
    return StockReserved(order_id=order.order_id, customer_id=order.customer_id, total=order.total)


_SECONDS = 120.0
ROUTERS = {"def": one_by_one, "on_batch": in_lists}


class Progress:
    """Counts handled events; marks the begin and the end of the measured ones."""

    def __init__(self, work: Work, meter: Meter) -> None:
        self._work = work
        self._meter = meter
        # A reader has one transaction at a time, so that one thread counts.
        self._counting: Transaction | None = None
        self._counted = 0
        self._loop = asyncio.get_running_loop()
        self.handled = 0
        """Number of events that have taken effect."""
        self.done = asyncio.Event()

    def count(self, tx: Transaction, events: int) -> None:
        """Count events once they take effect: a transaction that is rolled back is repeated."""
        if self._counting is not tx:
            self._counting, self._counted = tx, 0
            tx.after_commit(self._committed)
        self._counted += events

    def _committed(self) -> None:
        before, self.handled = self.handled, self.handled + self._counted
        after = self.handled
        if before < self._work.warm <= after:
            self._loop.call_soon_threadsafe(self._mark)
        if before < self._work.count <= after:
            self._loop.call_soon_threadsafe(self._end)

    def _mark(self) -> None:
        self._meter.mark(self.handled)

    def _end(self) -> None:
        self._mark()
        self.done.set()


async def handle(work: Work, meter: Meter) -> Check:
    """Handle the events of the stream."""
    progress = Progress(work, meter)
    router = ROUTERS[work.variant](progress.count)
    subscribe(router, work.around.get("types", 0))
    node = EventNode(
        "inventory",
        work.database,
        work.nats,
        router=router,
        publishes=[StockReserved],
        relays=work.relays,
    )
    metadata.create_all(node.database.engine)
    await node.database.transaction(open_accounts)
    await node.database.transaction(partial(_add_waiting, work.around.get("waiting", 0)))
    await node.start()
    await asyncio.wait_for(progress.done.wait(), _SECONDS)
    await node.stop_handling()
    if work.relays:
        await node.flush(_SECONDS)
        meter.mark(progress.handled)
    check = await node.database.read(read_check)
    await node.close()
    return check


def open_accounts(tx: Transaction) -> None:
    """Add all accounts, without orders."""
    rows = [{"id": id, "orders": 0} for id in range(ACCOUNTS)]
    tx.session.execute(insert(accounts), rows)


def _add_waiting(count: int, tx: Transaction) -> None:
    add_tasks(count, event_type(OrderPlaced), tx)
    add_dead_letters(count, event_type(OrderPlaced), tx)


def read_check(tx: ReadTransaction) -> Check:
    """Return what the database holds after the events were handled."""
    read = tx.session.execute
    balances = {id: n for id, n in read(select(accounts.c.id, accounts.c.orders)) if n}
    events = [StockReserved.FromString(data) for (data,) in read(select(tables.outbox.c.data))]
    published = [(event.order_id, event.total.amount) for event in events]
    return found(sum(balances.values()), balances, published)


if __name__ == "__main__":
    run(handle)
