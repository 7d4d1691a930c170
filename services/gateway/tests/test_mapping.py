"""Models of the REST API as messages of the contracts, and back."""

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from chassis import InvalidArgument
from gateway import mapping
from gateway.models import NewLine, NewOrder
from shop.inventory.v1 import ListProductsResponse, Product
from shop.money.v1 import Money
from shop.orders.v1 import (
    CANCEL_REASON_TIMED_OUT,
    ORDER_STATUS_CANCELLED,
    ORDER_STATUS_PENDING,
    ListOrdersResponse,
    Order,
    OrderLine,
)

pytestmark = pytest.mark.unit

PRICE = Money(amount=199, currency="USD")
NEW = NewOrder(
    customer_id="c-1",
    lines=[NewLine(sku="milk", quantity=2), NewLine(sku="bread", quantity=1)],
)


def timestamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def test_each_line_of_an_order_gets_its_price() -> None:
    request = mapping.place_order_request("o-1", NEW, {"milk": PRICE, "bread": PRICE}, None)
    assert [(line.sku, line.quantity, line.price) for line in request.lines] == [
        ("milk", 2, PRICE),
        ("bread", 1, PRICE),
    ]
    assert request.idempotency_key == ""


def test_a_product_without_a_price_is_named_by_its_line() -> None:
    with pytest.raises(InvalidArgument) as refused:
        mapping.place_order_request("o-1", NEW, {"milk": PRICE}, None)
    assert refused.value.field == "lines.1.sku"


def test_the_times_of_an_order_are_in_utc() -> None:
    model = mapping.order(
        Order(
            order_id="o-1",
            customer_id="c-1",
            status=ORDER_STATUS_CANCELLED,
            reason=CANCEL_REASON_TIMED_OUT,
            lines=[OrderLine(sku="milk", quantity=2, price=PRICE)],
            total=Money(amount=398, currency="USD"),
            placed_at=timestamp(datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)),
            ended_at=timestamp(datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC)),
        )
    )
    assert model.model_dump(mode="json") == {
        "order_id": "o-1",
        "customer_id": "c-1",
        "status": "cancelled",
        "reason": "timed_out",
        "lines": [{"sku": "milk", "quantity": 2, "price": {"amount": 199, "currency": "USD"}}],
        "total": {"amount": 398, "currency": "USD"},
        "placed_at": "2026-01-02T03:04:05.678000Z",
        "ended_at": "2026-01-02T03:05:05Z",
    }


def test_a_pending_order_has_no_reason_and_no_end() -> None:
    model = mapping.order(
        Order(status=ORDER_STATUS_PENDING, placed_at=timestamp(datetime.now(UTC)))
    )
    assert (model.status, model.reason, model.ended_at) == ("pending", None, None)


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_a_cursor_round_trips(cursor: str) -> None:
    page = mapping.product_page(ListProductsResponse(next_cursor=cursor))
    assert page.next_cursor is not None
    assert page.next_cursor.isascii()
    assert mapping.from_cursor("products", page.next_cursor) == cursor


def test_the_last_page_has_no_cursor() -> None:
    page = mapping.product_page(ListProductsResponse(products=[Product(sku="milk")]))
    assert page.next_cursor is None
    assert mapping.from_cursor("products", None) == ""


@pytest.mark.parametrize("cursor", ["a", "%%%%", "ü", "_w==", "bWls\n", "cHJvZHVjdHM6"])
def test_an_invalid_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        mapping.from_cursor("products", cursor)
    assert refused.value.field == "cursor"


def test_a_cursor_of_one_list_is_refused_by_another() -> None:
    cursor = mapping.order_page(ListOrdersResponse(next_cursor="17.o-1")).next_cursor
    assert mapping.from_cursor("orders", cursor) == "17.o-1"
    with pytest.raises(InvalidArgument, match="not a next_cursor of this list"):
        mapping.from_cursor("products", cursor)
