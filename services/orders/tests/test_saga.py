"""The saga of an order, on both databases and without a broker."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from google.protobuf.message import Message
from order_calls import TOTAL, get_history, get_order, place, read_ledger

from chassis import EventContext, Reject, Transaction
from chassis.events import uuid7
from chassis.testing import HandlerHarness
from orders import saga
from orders.domain import Trigger
from orders.saga import Received
from shop.inventory.v1 import StockRejected, StockReserved
from shop.orders.v1 import (
    CANCEL_REASON_OUT_OF_STOCK,
    CANCEL_REASON_PAYMENT_DECLINED,
    CANCEL_REASON_TIMED_OUT,
    ORDER_STATUS_CANCELLED,
    ORDER_STATUS_CONFIRMED,
    ORDER_STATUS_PENDING,
    CancelReason,
    ListOrderEventsResponse,
    OrderCancelled,
    OrderConfirmed,
    OrderPlaced,
    PaymentRefundRequested,
)
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined, PaymentRefunded

pytestmark = [pytest.mark.dialect, pytest.mark.unit]


def types(page: ListOrderEventsResponse) -> list[str]:
    return [json.loads(event.cloudevent)["type"].rsplit(".")[-1] for event in page.events]


def receive(tx: Transaction, message: Message, trigger: Trigger) -> None:
    """Do what a handler does, in a transaction that may run concurrently with others."""
    event = EventContext(uuid7(), message.DESCRIPTOR.full_name, "somewhere")
    saga.receive(tx, Received("o-1", trigger, event, message, paid=TOTAL))


def cancel_all_pending(harness: HandlerHarness) -> None:
    """Cancel all pending orders as overdue."""
    harness.transact(lambda tx: saga.cancel_overdue(tx, timeout_seconds=-1))


RESERVED = StockReserved(order_id="o-1", total=TOTAL)
REJECTED = StockRejected(order_id="o-1", skus=["milk"])
AUTHORIZED = PaymentAuthorized(order_id="o-1", payment_id="p-1", amount=TOTAL)
DECLINED = PaymentDeclined(order_id="o-1", reason="too much")
REFUNDED = PaymentRefunded(order_id="o-1", payment_id="p-1", amount=TOTAL)


def test_a_placed_order_is_pending_and_published(harness: HandlerHarness) -> None:
    placed = place(harness)
    assert (placed.order_id, placed.status, placed.total) == ("o-1", ORDER_STATUS_PENDING, TOTAL)
    assert not placed.HasField("ended_at")
    assert harness.published == [
        OrderPlaced(
            order_id="o-1",
            customer_id="c-1",
            lines=placed.lines,
            total=TOTAL,
            placed_at=placed.placed_at,
        )
    ]
    assert get_order(harness) == placed


def test_a_paid_order_is_confirmed(harness: HandlerHarness) -> None:
    place(harness)
    harness.handle(RESERVED)
    harness.handle(AUTHORIZED)
    ended = get_order(harness)
    assert ended.status == ORDER_STATUS_CONFIRMED
    assert ended.ended_at.ToDatetime() >= ended.placed_at.ToDatetime()
    assert harness.published[1:] == [
        OrderConfirmed(order_id="o-1", customer_id="c-1", total=TOTAL, confirmed_at=ended.ended_at)
    ]


@pytest.mark.parametrize(
    ("message", "reason"),
    [(REJECTED, CANCEL_REASON_OUT_OF_STOCK), (DECLINED, CANCEL_REASON_PAYMENT_DECLINED)],
)
def test_an_order_without_stock_or_payment_is_cancelled(
    harness: HandlerHarness, message: Message, reason: CancelReason.ValueType
) -> None:
    place(harness)
    harness.handle(message)
    ended = get_order(harness)
    assert (ended.status, ended.reason) == (ORDER_STATUS_CANCELLED, reason)
    assert harness.published[1:] == [
        OrderCancelled(
            order_id="o-1", customer_id="c-1", reason=reason, cancelled_at=ended.ended_at
        )
    ]


def test_an_overdue_order_is_cancelled(harness: HandlerHarness) -> None:
    place(harness)
    harness.transact(lambda tx: saga.cancel_overdue(tx, timeout_seconds=60))
    assert get_order(harness).status == ORDER_STATUS_PENDING
    cancel_all_pending(harness)
    cancel_all_pending(harness)
    assert get_order(harness).reason == CANCEL_REASON_TIMED_OUT
    assert [type(message) for message in harness.published] == [
        OrderPlaced,
        OrderCancelled,
    ]
    assert types(get_history(harness)) == ["OrderPlaced", "OrderCancelled"]


def test_only_pending_orders_time_out(harness: HandlerHarness) -> None:
    place(harness)
    harness.handle(AUTHORIZED)
    cancel_all_pending(harness)
    assert get_order(harness).status == ORDER_STATUS_CONFIRMED


def test_a_payment_for_a_cancelled_order_is_refunded(harness: HandlerHarness) -> None:
    place(harness)
    cancel_all_pending(harness)
    harness.handle(AUTHORIZED)
    harness.handle(REFUNDED)
    assert get_order(harness).status == ORDER_STATUS_CANCELLED
    assert harness.published[2:] == [PaymentRefundRequested(order_id="o-1", amount=TOTAL)]


def test_a_confirmed_order_stays_confirmed_after_any_event(harness: HandlerHarness) -> None:
    place(harness)
    harness.handle(AUTHORIZED)
    for late in (RESERVED, REJECTED, DECLINED, AUTHORIZED, REFUNDED):
        harness.handle(late)
    cancel_all_pending(harness)
    assert get_order(harness).status == ORDER_STATUS_CONFIRMED
    assert [type(message) for message in harness.published] == [
        OrderPlaced,
        OrderConfirmed,
    ]


def test_the_history_counts_an_orders_events_up_to_its_end(harness: HandlerHarness) -> None:
    place(harness)
    assert get_history(harness).terminal_sequence == 0
    harness.handle(RESERVED)
    harness.handle(AUTHORIZED)
    page = get_history(harness)
    assert types(page) == ["OrderPlaced", "StockReserved", "PaymentAuthorized", "OrderConfirmed"]
    assert [event.sequence for event in page.events] == [1, 2, 3, 4]
    assert [event.terminal for event in page.events] == [False, False, False, True]
    assert page.terminal_sequence == 4


def test_the_history_continues_after_the_end(harness: HandlerHarness) -> None:
    place(harness)
    cancel_all_pending(harness)
    harness.handle(AUTHORIZED)
    harness.handle(REFUNDED)
    page = get_history(harness)
    assert types(page) == [
        "OrderPlaced",
        "OrderCancelled",
        "PaymentAuthorized",
        "PaymentRefundRequested",
        "PaymentRefunded",
    ]
    assert page.terminal_sequence == 2
    assert [event.terminal for event in page.events] == [False, True, False, False, False]


def test_the_history_is_read_from_any_sequence(harness: HandlerHarness) -> None:
    place(harness)
    harness.handle(RESERVED)
    harness.handle(AUTHORIZED)
    assert [event.sequence for event in get_history(harness, after=2).events] == [3, 4]
    end = get_history(harness, after=4)
    assert (list(end.events), end.terminal_sequence) == ([], 4)


def test_the_history_holds_the_events_as_they_were_published(harness: HandlerHarness) -> None:
    place(harness)
    harness.handle(RESERVED)
    placed, reserved = (json.loads(event.cloudevent) for event in get_history(harness).events)
    assert {name: placed[name] for name in ("specversion", "type", "source", "subject")} == {
        "specversion": "1.0",
        "type": "shop.orders.v1.OrderPlaced",
        "source": "orders",
        "subject": "o-1",
    }
    assert placed["data"]["order_id"] == "o-1"
    assert (reserved["source"], reserved["data"]["total"]) == (
        "inventory",
        {"amount": str(TOTAL.amount), "currency": "USD"},
    )


def test_a_time_out_names_the_placing_of_the_order_as_its_cause(harness: HandlerHarness) -> None:
    place(harness)
    cancel_all_pending(harness)
    placed, cancelled = (json.loads(event.cloudevent) for event in get_history(harness).events)
    assert (cancelled["causationid"], cancelled["correlationid"]) == (placed["id"], placed["id"])


@pytest.mark.parametrize("message", [RESERVED, REJECTED, AUTHORIZED, DECLINED, REFUNDED])
def test_an_event_about_an_unknown_order_is_rejected(
    harness: HandlerHarness, message: Message
) -> None:
    with pytest.raises(Reject):
        harness.handle(message)


def test_concurrent_triggers_end_an_order_once(harness: HandlerHarness) -> None:
    place(harness)
    ready = Barrier(3)

    def run(action: Callable[[], Any]) -> None:
        ready.wait()
        action()

    with ThreadPoolExecutor(3) as pool:
        actions: list[Callable[[], Any]] = [
            lambda: harness.transact(
                lambda tx: receive(tx, AUTHORIZED, Trigger.PAYMENT_AUTHORIZED)
            ),
            lambda: harness.transact(lambda tx: receive(tx, DECLINED, Trigger.PAYMENT_DECLINED)),
            lambda: cancel_all_pending(harness),
        ]
        list(pool.map(run, actions))
    cancel_all_pending(harness)
    endings = (OrderConfirmed, OrderCancelled)
    assert sum(isinstance(message, endings) for message in harness.published) == 1
    assert read_ledger(harness)["o-1"].endings == 1
    events = get_history(harness).events
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
