"""Models of the REST API as messages of the contracts, and back."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC
from typing import Literal

from chassis import InvalidArgument
from gateway.models import (
    CancelReason,
    Money,
    NewOrder,
    Order,
    OrderLine,
    OrderPage,
    OrderStatus,
    PlacedOrder,
    Product,
    ProductPage,
)
from shop.inventory.v1 import ListProductsResponse
from shop.inventory.v1 import Product as ProductMessage
from shop.money.v1 import Money as MoneyMessage
from shop.orders.v1 import (
    CANCEL_REASON_OUT_OF_STOCK,
    CANCEL_REASON_PAYMENT_DECLINED,
    CANCEL_REASON_TIMED_OUT,
    ORDER_STATUS_CANCELLED,
    ORDER_STATUS_CONFIRMED,
    GetPlacedOrderRequest,
    ListOrdersResponse,
    PlaceOrderRequest,
)
from shop.orders.v1 import CancelReason as CancelReasonMessage
from shop.orders.v1 import Order as OrderMessage
from shop.orders.v1 import OrderLine as OrderLineMessage
from shop.orders.v1 import OrderStatus as OrderStatusMessage

__all__ = [
    "from_cursor",
    "get_placed_order_request",
    "order",
    "order_page",
    "place_order_request",
    "placed_order",
    "product",
    "product_page",
]

ListName = Literal["orders", "products"]

_REASONS: dict[CancelReasonMessage.ValueType, CancelReason] = {
    CANCEL_REASON_OUT_OF_STOCK: "out_of_stock",
    CANCEL_REASON_PAYMENT_DECLINED: "payment_declined",
    CANCEL_REASON_TIMED_OUT: "timed_out",
}


def product(message: ProductMessage) -> Product:
    return Product(
        sku=message.sku,
        name=message.name,
        department=message.department,
        price=_money(message.price),
        stock=message.stock,
    )


def product_page(message: ListProductsResponse) -> ProductPage:
    return ProductPage(
        items=[product(item) for item in message.products],
        next_cursor=_to_cursor("products", message.next_cursor),
    )


def place_order_request(
    order_id: str,
    new: NewOrder,
    prices: Mapping[str, MoneyMessage],
    idempotency_key: str | None,
) -> PlaceOrderRequest:
    """Return the request for an order, with a price on each line.

    Raises:
        InvalidArgument: a product has no price, because it does not exist.
    """
    for position, line in enumerate(new.lines):
        if line.sku not in prices:
            raise InvalidArgument(
                f"there is no product {line.sku!r}", field=f"lines.{position}.sku"
            )
    return PlaceOrderRequest(
        order_id=order_id,
        customer_id=new.customer_id,
        lines=[
            OrderLineMessage(sku=line.sku, quantity=line.quantity, price=prices[line.sku])
            for line in new.lines
        ],
        idempotency_key=idempotency_key or "",
    )


def get_placed_order_request(new: NewOrder, idempotency_key: str) -> GetPlacedOrderRequest:
    """Return the request for the order that was placed with this key."""
    return GetPlacedOrderRequest(
        customer_id=new.customer_id,
        idempotency_key=idempotency_key,
        lines=[OrderLineMessage(sku=line.sku, quantity=line.quantity) for line in new.lines],
    )


def placed_order(message: OrderMessage) -> PlacedOrder:
    return PlacedOrder(
        order_id=message.order_id,
        status=_status(message.status),
        total=_money(message.total),
    )


def order(message: OrderMessage) -> Order:
    ended = message.HasField("ended_at")
    return Order(
        order_id=message.order_id,
        customer_id=message.customer_id,
        status=_status(message.status),
        reason=_REASONS.get(message.reason),
        lines=[
            OrderLine(sku=line.sku, quantity=line.quantity, price=_money(line.price))
            for line in message.lines
        ],
        total=_money(message.total),
        placed_at=message.placed_at.ToDatetime(UTC),
        ended_at=message.ended_at.ToDatetime(UTC) if ended else None,
    )


def order_page(message: ListOrdersResponse) -> OrderPage:
    return OrderPage(
        items=[order(item) for item in message.orders],
        next_cursor=_to_cursor("orders", message.next_cursor),
    )


def from_cursor(list_name: ListName, cursor: str | None) -> str:
    """Return the service's cursor in a cursor of the REST API; empty for None.

    Raises:
        InvalidArgument: it is not a cursor of this list.
    """
    if not cursor:
        return ""
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        text = ""
    name, _, service_cursor = text.partition(":")
    if name != list_name or not service_cursor:
        raise InvalidArgument(
            "cursor is not a next_cursor of this list; omit it to get the first page",
            field="cursor",
        )
    return service_cursor


def _to_cursor(list_name: ListName, cursor: str) -> str | None:
    """Return a cursor for clients, which is valid only for its list."""
    return base64.urlsafe_b64encode(f"{list_name}:{cursor}".encode()).decode() if cursor else None


def _money(message: MoneyMessage) -> Money:
    return Money(amount=message.amount, currency=message.currency)


def _status(status: OrderStatusMessage.ValueType) -> OrderStatus:
    if status == ORDER_STATUS_CONFIRMED:
        return "confirmed"
    return "cancelled" if status == ORDER_STATUS_CANCELLED else "pending"
