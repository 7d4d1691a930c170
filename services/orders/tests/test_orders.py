"""The saga of an order, on both databases and without a broker."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from google.protobuf.message import Message

from chassis import EventContext, InvalidArgument, NotFound, Reject, Transaction
from chassis.events import uuid7
from chassis.testing import HandlerHarness
from orders import saga
from orders.domain import Trigger
from orders.rpc import Orders
from orders.saga import Received
from shop.inventory.v1 import StockRejected, StockReserved
from shop.money.v1 import Money
from shop.orders.v1 import (
    CANCEL_REASON_OUT_OF_STOCK,
    CANCEL_REASON_PAYMENT_DECLINED,
    CANCEL_REASON_TIMED_OUT,
    ORDER_STATUS_CANCELLED,
    ORDER_STATUS_CONFIRMED,
    ORDER_STATUS_PENDING,
    CancelReason,
    GetOrderRequest,
    GetOrdersLedgerRequest,
    GetPlacedOrderRequest,
    ListOrderEventsRequest,
    ListOrderEventsResponse,
    ListOrdersRequest,
    Order,
    OrderCancelled,
    OrderConfirmed,
    OrderEntry,
    OrderLine,
    OrderPlaced,
    PaymentRefundRequested,
    PlaceOrderRequest,
)
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined, PaymentRefunded

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

TOTAL = Money(amount=2 * 199 + 250, currency="USD")


def usd(amount: int) -> Money:
    return Money(amount=amount, currency="USD")


def place_request(
    order_id: str = "o-1",
    *,
    key: str = "",
    customer_id: str = "c-1",
    milk: int = 2,
    price: int = 199,
) -> PlaceOrderRequest:
    return PlaceOrderRequest(
        order_id=order_id,
        customer_id=customer_id,
        lines=[
            OrderLine(sku="milk", quantity=milk, price=usd(price)),
            OrderLine(sku="bread", quantity=1, price=usd(250)),
        ],
        idempotency_key=key,
    )


def place(harness: HandlerHarness, request: PlaceOrderRequest | None = None) -> Order:
    return harness.transact(lambda tx: Orders().place_order(request or place_request(), tx)).order


def order(harness: HandlerHarness, order_id: str = "o-1") -> Order:
    request = GetOrderRequest(order_id=order_id)
    return harness.transact(lambda tx: Orders().get_order(request, tx)).order


def history(harness: HandlerHarness, after: int = 0) -> ListOrderEventsResponse:
    request = ListOrderEventsRequest(order_id="o-1", after=after)
    return harness.transact(lambda tx: Orders().list_order_events(request, tx))


def types(page: ListOrderEventsResponse) -> list[str]:
    return [json.loads(event.cloudevent)["type"].rsplit(".")[-1] for event in page.events]


def ledger(harness: HandlerHarness) -> dict[str, OrderEntry]:
    """Read the ledger two orders a page, and return its entries by order id."""
    entries: dict[str, OrderEntry] = {}
    request = GetOrdersLedgerRequest(limit=2)
    while True:
        page = harness.transact(lambda tx: Orders().get_orders_ledger(request, tx))
        entries |= {entry.order_id: entry for entry in page.orders}
        if not page.next_cursor:
            return entries
        request.cursor = page.next_cursor


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
    assert order(harness) == placed


def test_a_paid_order_is_confirmed(harness: HandlerHarness) -> None:
    place(harness)
    harness.handle(RESERVED)
    harness.handle(AUTHORIZED)
    ended = order(harness)
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
    ended = order(harness)
    assert (ended.status, ended.reason) == (ORDER_STATUS_CANCELLED, reason)
    assert harness.published[1:] == [
        OrderCancelled(
            order_id="o-1", customer_id="c-1", reason=reason, cancelled_at=ended.ended_at
        )
    ]


def test_an_overdue_order_is_cancelled(harness: HandlerHarness) -> None:
    place(harness)
    harness.transact(lambda tx: saga.cancel_overdue(tx, timeout_seconds=60))
    assert order(harness).status == ORDER_STATUS_PENDING
    cancel_all_pending(harness)
    cancel_all_pending(harness)
    assert order(harness).reason == CANCEL_REASON_TIMED_OUT
    assert [type(message) for message in harness.published] == [
        OrderPlaced,
        OrderCancelled,
    ]
    assert types(history(harness)) == ["OrderPlaced", "OrderCancelled"]


def test_only_pending_orders_time_out(harness: HandlerHarness) -> None:
    place(harness)
    harness.handle(AUTHORIZED)
    cancel_all_pending(harness)
    assert order(harness).status == ORDER_STATUS_CONFIRMED


def test_a_payment_for_a_cancelled_order_is_refunded(harness: HandlerHarness) -> None:
    place(harness)
    cancel_all_pending(harness)
    harness.handle(AUTHORIZED)
    harness.handle(REFUNDED)
    assert order(harness).status == ORDER_STATUS_CANCELLED
    assert harness.published[2:] == [PaymentRefundRequested(order_id="o-1", amount=TOTAL)]


def test_a_confirmed_order_stays_confirmed_after_any_event(harness: HandlerHarness) -> None:
    place(harness)
    harness.handle(AUTHORIZED)
    for late in (RESERVED, REJECTED, DECLINED, AUTHORIZED, REFUNDED):
        harness.handle(late)
    cancel_all_pending(harness)
    assert order(harness).status == ORDER_STATUS_CONFIRMED
    assert [type(message) for message in harness.published] == [
        OrderPlaced,
        OrderConfirmed,
    ]


def test_the_history_counts_an_orders_events_up_to_its_end(harness: HandlerHarness) -> None:
    place(harness)
    assert history(harness).terminal_sequence == 0
    harness.handle(RESERVED)
    harness.handle(AUTHORIZED)
    page = history(harness)
    assert types(page) == ["OrderPlaced", "StockReserved", "PaymentAuthorized", "OrderConfirmed"]
    assert [event.sequence for event in page.events] == [1, 2, 3, 4]
    assert [event.terminal for event in page.events] == [False, False, False, True]
    assert page.terminal_sequence == 4


def test_the_history_continues_after_the_end(harness: HandlerHarness) -> None:
    place(harness)
    cancel_all_pending(harness)
    harness.handle(AUTHORIZED)
    harness.handle(REFUNDED)
    page = history(harness)
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
    assert [event.sequence for event in history(harness, after=2).events] == [3, 4]
    end = history(harness, after=4)
    assert (list(end.events), end.terminal_sequence) == ([], 4)


def test_the_history_holds_the_events_as_they_were_published(harness: HandlerHarness) -> None:
    place(harness)
    harness.handle(RESERVED)
    placed, reserved = (json.loads(event.cloudevent) for event in history(harness).events)
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
    placed, cancelled = (json.loads(event.cloudevent) for event in history(harness).events)
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
    assert ledger(harness)["o-1"].endings == 1
    events = history(harness).events
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


def test_an_order_is_placed_once_by_its_id(harness: HandlerHarness) -> None:
    first = place(harness)
    assert place(harness) == first
    assert len(harness.published) == 1


def test_an_id_of_an_order_with_other_contents_is_refused(harness: HandlerHarness) -> None:
    place(harness)
    with pytest.raises(InvalidArgument) as refused:
        place(harness, place_request(milk=3))
    assert refused.value.field == "order_id"


def test_an_order_is_placed_once_under_its_customers_key(harness: HandlerHarness) -> None:
    first = place(harness, place_request("o-1", key="k-1"))
    assert place(harness, place_request("o-2", key="k-1")) == first
    assert len(harness.published) == 1
    with pytest.raises(NotFound):
        order(harness, "o-2")


def test_a_key_counts_for_its_customer_only(harness: HandlerHarness) -> None:
    place(harness, place_request("o-1", key="k-1", customer_id="c-1"))
    assert place(harness, place_request("o-2", key="k-1", customer_id="c-2")).order_id == "o-2"


def test_orders_without_a_key_are_all_placed(harness: HandlerHarness) -> None:
    place(harness, place_request("o-1"))
    assert place(harness, place_request("o-2")).order_id == "o-2"


def test_a_key_sent_again_after_a_price_has_changed_gets_the_first_order(
    harness: HandlerHarness,
) -> None:
    first = place(harness, place_request("o-1", key="k-1"))
    assert place(harness, place_request("o-2", key="k-1", price=299)) == first


def test_a_key_sent_again_with_another_body_is_refused(harness: HandlerHarness) -> None:
    place(harness, place_request("o-1", key="k-1"))
    with pytest.raises(InvalidArgument) as refused:
        place(harness, place_request("o-2", key="k-1", milk=3))
    assert refused.value.field == "Idempotency-Key"


def placed_before(harness: HandlerHarness, request: PlaceOrderRequest) -> Order:
    again = GetPlacedOrderRequest(
        customer_id=request.customer_id,
        idempotency_key=request.idempotency_key,
        lines=[OrderLine(sku=line.sku, quantity=line.quantity) for line in request.lines],
    )
    return harness.transact(lambda tx: Orders().get_placed_order(again, tx)).order


def test_the_order_of_a_key_is_found_without_prices(harness: HandlerHarness) -> None:
    first = place(harness, place_request("o-1", key="k-1"))
    assert placed_before(harness, place_request(key="k-1")) == first
    with pytest.raises(InvalidArgument) as refused:
        placed_before(harness, place_request(key="k-1", milk=3))
    assert refused.value.field == "Idempotency-Key"


@pytest.mark.parametrize(("key", "customer_id"), [("k-2", "c-1"), ("k-1", "c-2"), ("", "c-1")])
def test_a_key_without_an_order_is_not_found(
    harness: HandlerHarness, key: str, customer_id: str
) -> None:
    place(harness, place_request("o-1", key="k-1"))
    place(harness, place_request("o-2"))
    with pytest.raises(NotFound):
        placed_before(harness, place_request(key=key, customer_id=customer_id))


def test_concurrent_requests_with_one_key_get_one_order(harness: HandlerHarness) -> None:
    ready = Barrier(4)

    def send(number: int) -> Order:
        ready.wait()
        return place(harness, place_request(f"o-{number}", key="k-1"))

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, range(4)))
    assert len({answer.order_id for answer in answers}) == 1
    assert len(harness.published) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"order_id": ""}, "order_id"),
        ({"customer_id": "\x00"}, "customer_id"),
        ({"lines": []}, "lines"),
        ({"lines": [OrderLine(sku="milk", quantity=1)]}, "lines.0.price.currency"),
        (
            {
                "lines": [
                    OrderLine(sku="a", quantity=1, price=Money(currency="USD")),
                    OrderLine(sku="b", quantity=1, price=Money(currency="EUR")),
                ]
            },
            "lines",
        ),
    ],
)
def test_a_malformed_request_is_refused_by_its_field(
    harness: HandlerHarness, changes: dict[str, Any], field: str
) -> None:
    given: dict[str, Any] = {
        "order_id": "o-1",
        "customer_id": "c-1",
        "lines": place_request().lines,
    }
    request = PlaceOrderRequest(**given | changes)
    with pytest.raises(InvalidArgument) as refused:
        place(harness, request)
    assert refused.value.field == field


@pytest.mark.parametrize("order_id", ["o-2", "", "\x00", "o" * 10_000])
def test_an_unknown_order_is_not_found(harness: HandlerHarness, order_id: str) -> None:
    place(harness)
    with pytest.raises(NotFound) as missing:
        order(harness, order_id)
    assert len(missing.value.detail) < 200
    request = ListOrderEventsRequest(order_id=order_id)
    with pytest.raises(NotFound):
        harness.transact(lambda tx: Orders().list_order_events(request, tx))


def listed(harness: HandlerHarness, request: ListOrdersRequest) -> list[list[str]]:
    """Return the ids on each page."""
    pages = []
    while True:
        page = harness.transact(lambda tx: Orders().list_orders(request, tx))
        pages.append([order.order_id for order in page.orders])
        if not page.next_cursor:
            return pages
        request.cursor = page.next_cursor


def test_orders_are_listed_newest_first_and_page_by_page(harness: HandlerHarness) -> None:
    for number in range(5):
        place(harness, place_request(f"o-{number}", customer_id=f"c-{number % 2}"))
    assert listed(harness, ListOrdersRequest(limit=2)) == [["o-4", "o-3"], ["o-2", "o-1"], ["o-0"]]
    assert listed(harness, ListOrdersRequest(limit=5)) == [["o-4", "o-3", "o-2", "o-1", "o-0"]]
    assert listed(harness, ListOrdersRequest(customer_id="c-1", limit=1)) == [["o-3"], ["o-1"]]
    assert listed(harness, ListOrdersRequest(customer_id="c-9")) == [[]]


@pytest.mark.parametrize(
    ("invalid", "field"),
    [
        (ListOrdersRequest(limit=-1), "limit"),
        (ListOrdersRequest(limit=101), "limit"),
        (ListOrdersRequest(cursor="x"), "cursor"),
        (ListOrdersRequest(cursor="12.\x00"), "cursor"),
        (ListOrdersRequest(cursor="99999999999999999.o-1"), "cursor"),
        (ListOrdersRequest(customer_id="\x00"), "customer_id"),
    ],
)
def test_an_invalid_request_for_a_list_is_refused_by_its_field(
    harness: HandlerHarness, invalid: ListOrdersRequest, field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        harness.transact(lambda tx: Orders().list_orders(invalid, tx))
    assert refused.value.field == field


def test_the_largest_cursor_is_valid(harness: HandlerHarness) -> None:
    place(harness)
    request = ListOrdersRequest(cursor="9999999999999999.o-1")
    assert listed(harness, request) == [["o-1"]]


def test_the_ledger_counts_endings_and_time_from_the_rows(harness: HandlerHarness) -> None:
    for order_id in ("o-1", "o-2", "o-3"):
        place(harness, place_request(order_id))
    harness.handle(AUTHORIZED)
    entries = ledger(harness)
    assert list(entries) == ["o-1", "o-2", "o-3"]
    assert (entries["o-1"].endings, entries["o-1"].total) == (1, TOTAL)
    ended = order(harness)
    lasted = ended.ended_at.ToMicroseconds() - ended.placed_at.ToMicroseconds()
    assert entries["o-1"].duration_micros == lasted
    assert (entries["o-2"].endings, entries["o-2"].duration_micros) == (0, 0)
