"""The RPCs of orders, on both databases and without a broker."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from order_calls import TOTAL, get_order, place, place_request, read_ledger

from chassis import InvalidArgument, NotFound
from chassis.testing import HandlerHarness
from orders.rpc import Orders
from shop.money.v1 import Money
from shop.orders.v1 import (
    GetPlacedOrderRequest,
    ListOrderEventsRequest,
    ListOrdersRequest,
    Order,
    OrderLine,
    PlaceOrderRequest,
)
from shop.payments.v1 import PaymentAuthorized

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

AUTHORIZED = PaymentAuthorized(order_id="o-1", payment_id="p-1", amount=TOTAL)


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
        get_order(harness, "o-2")


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
        get_order(harness, order_id)
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
    entries = read_ledger(harness)
    assert list(entries) == ["o-1", "o-2", "o-3"]
    assert (entries["o-1"].endings, entries["o-1"].total) == (1, TOTAL)
    ended = get_order(harness)
    lasted = ended.ended_at.ToMicroseconds() - ended.placed_at.ToMicroseconds()
    assert entries["o-1"].duration_micros == lasted
    assert (entries["o-2"].endings, entries["o-2"].duration_micros) == (0, 0)
