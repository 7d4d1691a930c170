"""Calls of OrdersService in a transaction of a harness."""

from chassis.testing import HandlerHarness
from orders.rpc import Orders
from shop.money.v1 import Money
from shop.orders.v1 import (
    GetOrderRequest,
    GetOrdersLedgerRequest,
    ListOrderEventsRequest,
    ListOrderEventsResponse,
    Order,
    OrderEntry,
    OrderLine,
    PlaceOrderRequest,
)

__all__ = [
    "TOTAL",
    "get_history",
    "get_order",
    "place",
    "place_request",
    "read_ledger",
    "usd",
]

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


def get_order(harness: HandlerHarness, order_id: str = "o-1") -> Order:
    request = GetOrderRequest(order_id=order_id)
    return harness.transact(lambda tx: Orders().get_order(request, tx)).order


def get_history(harness: HandlerHarness, after: int = 0) -> ListOrderEventsResponse:
    request = ListOrderEventsRequest(order_id="o-1", after=after)
    return harness.transact(lambda tx: Orders().list_order_events(request, tx))


def read_ledger(harness: HandlerHarness) -> dict[str, OrderEntry]:
    """Read the ledger two orders a page, and return its entries by order id."""
    entries: dict[str, OrderEntry] = {}
    request = GetOrdersLedgerRequest(limit=2)
    while True:
        page = harness.transact(lambda tx: Orders().get_orders_ledger(request, tx))
        entries |= {entry.order_id: entry for entry in page.orders}
        if not page.next_cursor:
            return entries
        request.cursor = page.next_cursor
