"""Several events in one transaction, and what an event costs in statements."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from google.protobuf.message import Message
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from chassis import EventContext, Reject, Transaction
from chassis.testing import HandlerHarness
from orders import saga
from orders.domain import Trigger
from orders.rpc import Orders
from orders.saga import Received
from shop.inventory.v1 import StockRejected, StockReserved
from shop.money.v1 import Money
from shop.orders.v1 import (
    GetOrdersLedgerRequest,
    ListOrderEventsRequest,
    OrderConfirmed,
    OrderLine,
    PlaceOrderRequest,
)
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined, PaymentRefunded

pytestmark = [pytest.mark.dialect, pytest.mark.unit]


def place(harness: HandlerHarness, *order_ids: str, price: int = 199) -> None:
    line = OrderLine(sku="milk", quantity=1, price=Money(amount=price, currency="USD"))
    requests = [
        PlaceOrderRequest(order_id=order_id, customer_id="c-1", lines=[line])
        for order_id in order_ids
    ]
    harness.transact(lambda tx: [Orders().place_order(request, tx) for request in requests])


def history(harness: HandlerHarness, order_id: str = "o-1") -> list[tuple[int, str, bool]]:
    """Return sequence, type and `terminal` of each event of an order."""
    request = ListOrderEventsRequest(order_id=order_id)
    page = harness.transact(lambda tx: Orders().list_order_events(request, tx))
    return [
        (entry.sequence, json.loads(entry.cloudevent)["type"].split(".")[-1], entry.terminal)
        for entry in page.events
    ]


@contextmanager
def statements(harness: HandlerHarness) -> Iterator[list[str]]:
    """Collect the statements on the tables of orders."""
    sent: list[str] = []

    def execute(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "orders" in statement or "order_events" in statement:
            sent.append(statement)

    event.listen(harness.database.engine, "before_cursor_execute", execute)
    yield sent
    event.remove(harness.database.engine, "before_cursor_execute", execute)


@pytest.mark.parametrize(
    "type", [StockReserved, StockRejected, PaymentAuthorized, PaymentDeclined, PaymentRefunded]
)
def test_an_event_costs_a_lock_an_update_and_an_insert(
    harness: HandlerHarness, type: Callable[..., Message]
) -> None:
    place(harness, "o-1")
    with statements(harness) as sent:
        harness.handle(type(order_id="o-1"))
    assert [statement.split()[0] for statement in sent] == ["SELECT", "UPDATE", "INSERT"]


def test_events_of_one_order_in_a_batch_follow_each_other(harness: HandlerHarness) -> None:
    place(harness, "o-1", "o-2")
    amount = Money(amount=199, currency="USD")
    paid = [PaymentAuthorized(order_id=order_id, amount=amount) for order_id in ("o-1", "o-2")]
    contexts = harness.handle(paid[0], paid[1], paid[0])
    assert history(harness) == [
        (1, "OrderPlaced", False),
        (2, "PaymentAuthorized", False),
        (3, "OrderConfirmed", True),
        (4, "PaymentAuthorized", False),
    ]
    confirmed = {
        message.order_id: context.causation_id
        for context, message in harness.outbox()
        if isinstance(message, OrderConfirmed)
    }
    assert confirmed == {"o-1": contexts[0].id, "o-2": contexts[1].id}


def test_a_batch_with_an_unknown_order_changes_nothing(harness: HandlerHarness) -> None:
    place(harness, "o-1")
    with pytest.raises(Reject, match="'unknown'"):
        harness.handle(PaymentAuthorized(order_id="o-1"), PaymentAuthorized(order_id="unknown"))
    assert history(harness) == [(1, "OrderPlaced", False)]


@pytest.mark.parametrize("order_id", ["o" * 65, "a b"])
def test_an_event_with_a_malformed_order_id_is_rejected(
    harness: HandlerHarness, order_id: str
) -> None:
    with pytest.raises(Reject):
        harness.handle(StockReserved(order_id=order_id))


def test_an_event_in_the_history_keeps_an_amount_of_zero(harness: HandlerHarness) -> None:
    place(harness, "o-1", price=0)
    request = ListOrderEventsRequest(order_id="o-1")
    page = harness.transact(lambda tx: Orders().list_order_events(request, tx))
    data = json.loads(page.events[0].cloudevent)["data"]
    assert data["total"] == {"amount": "0", "currency": "USD"}


def test_all_overdue_orders_are_cancelled_in_one_run(harness: HandlerHarness) -> None:
    place(harness, *(f"o-{number}" for number in range(401)))
    harness.transact(lambda tx: saga.cancel_overdue(tx, timeout_seconds=-1))
    request = GetOrdersLedgerRequest()
    ledger = harness.transact(lambda tx: Orders().get_orders_ledger(request, tx))
    assert [order.endings for order in ledger.orders] == [1] * 401


def test_transactions_about_the_same_orders_in_opposite_order_do_not_deadlock(
    harness: HandlerHarness,
) -> None:
    if harness.database.sqlite:
        pytest.skip("SQLite has one writer")
    place(harness, "o-1", "o-2")
    begun: list[str] = []

    def batch(*order_ids: str) -> None:
        context = EventContext("e", "shop.inventory.v1.StockReserved", "inventory")
        received = [
            Received(order_id, Trigger.STOCK_RESERVED, context, StockReserved(order_id=order_id))
            for order_id in order_ids
        ]

        def work(tx: Transaction) -> None:
            begun.append(order_ids[0])
            saga.receive(tx, *received)

        harness.transact(work)

    with ThreadPoolExecutor(2) as pool:
        with Session(harness.database.engine) as holder:
            holder.execute(text("SELECT 1 FROM orders FOR UPDATE"))
            batches = [pool.submit(batch, "o-1", "o-2"), pool.submit(batch, "o-2", "o-1")]
            eventually(lambda: waiting(holder) == 2)
            holder.rollback()
        for done in batches:
            done.result()
    # After a deadlock, a transaction would have been run a second time.
    assert sorted(begun) == ["o-1", "o-2"]
    assert [len(history(harness, order_id)) for order_id in ("o-1", "o-2")] == [3, 3]


def waiting(session: Session) -> int:
    """Return how many connections wait for a lock on this server."""
    waits = text("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
    return int(session.scalar(waits) or 0)


def eventually(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends_at, "not within 60 s"
        time.sleep(0.01)
