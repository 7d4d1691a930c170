"""The REST API of the shop."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response, status
from pydantic import BeforeValidator

from chassis import InvalidArgument, NotFound, Unavailable
from chassis.events import uuid7
from chassis.http import ServerSentEvent, event_stream
from chassis.rpc import client
from gateway import mapping
from gateway.history import follow, has_ended
from gateway.models import Identifier, NewOrder, Order, OrderPage, PlacedOrder, Product, ProductPage
from gateway.openapi import ACCEPTED, EVENT_STREAM, problems
from gateway.settings import GatewaySettings
from gateway.wakeups import wakeups
from shop.inventory.v1 import (
    GetProductRequest,
    InventoryService,
    InventoryServiceAsyncStub,
    InventoryServiceStub,
    ListProductsRequest,
    QuoteProductsRequest,
)
from shop.orders.v1 import (
    GetOrderRequest,
    ListOrderEventsRequest,
    ListOrdersRequest,
    OrderEvent,
    OrdersService,
    OrdersServiceAsyncStub,
    OrdersServiceStub,
    PlaceOrderRequest,
)
from shop.orders.v1 import Order as OrderMessage

__all__ = ["orders", "products"]

Orders = Annotated[OrdersServiceAsyncStub, Depends(client(OrdersService, OrdersServiceStub))]
Inventory = Annotated[
    InventoryServiceAsyncStub, Depends(client(InventoryService, InventoryServiceStub))
]
Limit = Annotated[int, Query(ge=1, le=100, description="Maximum number of items on the page.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the previous page.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Makes the request idempotent. If the customer has placed an order with this "
        "key and the same body, that order is returned and none is placed. The key with another "
        "body is refused.",
    ),
]

Sku = Annotated[str, Path(examples=["1029743"])]
OrderId = Annotated[str, Path(examples=["0199c3d4-7a10-7c3e-8f6b-2d1f0a9b8c7d"])]
LastEventId = Annotated[
    int,
    # A client that has received no event may send an empty header.
    BeforeValidator(lambda sent: sent or 0),
    Header(
        alias="Last-Event-ID",
        ge=0,
        lt=2**31,
        description="Id of the last event that the client has received; the stream continues "
        "after it.",
    ),
]

orders = APIRouter(prefix="/orders", tags=["orders"])
products = APIRouter(prefix="/products", tags=["products"])


@products.get("", summary="List products", responses=problems(422, 503, 504))
async def list_products(
    inventory: Inventory, limit: Limit = 20, cursor: Cursor = None
) -> ProductPage:
    """Return the products, sorted by sku."""
    request = ListProductsRequest(limit=limit, cursor=mapping.from_cursor("products", cursor))
    return mapping.product_page(await inventory.ListProducts(request))


@products.get("/{sku}", summary="Get a product", responses=problems(404, 422, 503, 504))
async def get_product(sku: Sku, inventory: Inventory) -> Product:
    """Return a product with its price and stock."""
    answer = await inventory.GetProduct(GetProductRequest(sku=sku))
    return mapping.product(answer.product)


@orders.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Place an order",
    responses=ACCEPTED | problems(413, 415, 422, 503, 504),
)
async def place_order(
    new: NewOrder,
    request: Request,
    response: Response,
    orders: Orders,
    inventory: Inventory,
    idempotency_key: IdempotencyKey = None,
) -> PlacedOrder:
    """Accept an order.

    Stock and payment are processed asynchronously; follow the order's events for the outcome.
    """
    try:
        priced = await _price_order(new, inventory, idempotency_key)
    except (Unavailable, InvalidArgument):
        # An order that was placed with this key is returned even if it could not be placed now.
        existing = idempotency_key and await _find_placed(new, orders, idempotency_key)
        if not existing:
            raise
        order = existing
    else:
        order = (await orders.PlaceOrder(priced)).order
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/orders/{order.order_id}"
    return mapping.placed_order(order)


async def _price_order(
    new: NewOrder, inventory: Inventory, idempotency_key: str | None
) -> PlaceOrderRequest:
    """Return the request for orders, with the products' present prices from inventory."""
    skus = {line.sku for line in new.lines}
    quote = await inventory.QuoteProducts(QuoteProductsRequest(skus=sorted(skus)))
    prices = {product.sku: product.price for product in quote.products}
    return mapping.place_order_request(uuid7(), new, prices, idempotency_key)


async def _find_placed(new: NewOrder, orders: Orders, idempotency_key: str) -> OrderMessage | None:
    """Return the order that was placed with this key; None if there is none.

    Raises:
        InvalidArgument: the key was used for an order with other contents.
    """
    try:
        request = mapping.get_placed_order_request(new, idempotency_key)
        return (await orders.GetPlacedOrder(request)).order
    except (NotFound, Unavailable):
        return None


@orders.get("", summary="List orders", responses=problems(422, 503, 504))
async def list_orders(
    orders: Orders,
    customer_id: Annotated[
        Identifier | None, Query(description="Return only the orders of this customer.")
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> OrderPage:
    """Return the orders, newest first."""
    request = ListOrdersRequest(
        customer_id=customer_id or "", limit=limit, cursor=mapping.from_cursor("orders", cursor)
    )
    return mapping.order_page(await orders.ListOrders(request))


@orders.get("/{order_id}", summary="Get an order", responses=problems(404, 422, 503, 504))
async def get_order(order_id: OrderId, orders: Orders) -> Order:
    """Return an order with its status."""
    answer = await orders.GetOrder(GetOrderRequest(order_id=order_id))
    return mapping.order(answer.order)


@orders.get(
    "/{order_id}/events",
    summary="Follow an order",
    response_class=Response,
    responses=EVENT_STREAM | problems(404, 422, 503, 504),
)
async def follow_order(
    order_id: OrderId, request: Request, orders: Orders, last_event_id: LastEventId = 0
) -> Response:
    """Stream the past and future events of an order as server-sent events, until it ends.

    Each event is a CloudEvent in the JSON format; the ids are 1, 2, 3, … within the order. `data`
    is protobuf's JSON, in which a 64-bit number, such as an amount of money, is a string.
    """
    settings: GatewaySettings = request.app.state.settings
    page = await orders.ListOrderEvents(
        ListOrderEventsRequest(order_id=order_id, after=last_event_id)
    )
    if has_ended(page, last_event_id):
        # The status tells a browser's EventSource not to reconnect.
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    history = follow(
        orders,
        order_id,
        page,
        last_event_id,
        wakeups=wakeups,
        poll_seconds=settings.order_events_poll_seconds,
    )
    return event_stream(request, _server_sent_events(history))


async def _server_sent_events(
    history: AsyncGenerator[OrderEvent],
) -> AsyncIterator[ServerSentEvent]:
    """Yield an order's events in the form of a browser's EventSource."""
    async with aclosing(history):
        async for event in history:
            type = json.loads(event.cloudevent)["type"]
            yield ServerSentEvent(event.cloudevent, id=str(event.sequence), event=type)
