"""The shop's REST surface."""

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
Limit = Annotated[int, Query(ge=1, le=100, description="most items on a page")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Sent again by the same customer with the same body, the first order is "
        "answered and none is placed; with another body it is refused.",
    ),
]

Sku = Annotated[str, Path(examples=["1029743"])]
OrderId = Annotated[str, Path(examples=["0199c3d4-7a10-7c3e-8f6b-2d1f0a9b8c7d"])]
LastEventId = Annotated[
    int,
    # A client that has seen no event may send an empty one.
    BeforeValidator(lambda sent: sent or 0),
    Header(
        alias="Last-Event-ID", ge=0, lt=2**31, description="goes on behind the event of this id"
    ),
]

orders = APIRouter(prefix="/orders", tags=["orders"])
products = APIRouter(prefix="/products", tags=["products"])


@products.get("", summary="List products", responses=problems(422, 503, 504))
async def list_products(
    inventory: Inventory, limit: Limit = 20, cursor: Cursor = None
) -> ProductPage:
    """By sku."""
    request = ListProductsRequest(limit=limit, cursor=mapping.from_cursor("products", cursor))
    return mapping.product_page(await inventory.ListProducts(request))


@products.get("/{sku}", summary="Show a product", responses=problems(404, 422, 503, 504))
async def get_product(
    sku: Annotated[str, Path(examples=["1029743"])], inventory: Inventory
) -> Product:
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
    """The order is taken; stock and payment are seen to behind it. Follow it by its events."""
    try:
        placing = await _priced(new, inventory, idempotency_key)
    except (Unavailable, InvalidArgument):
        # What was placed before is answered again, whatever can be bought by now.
        before = idempotency_key and await _placed_before(new, orders, idempotency_key)
        if not before:
            raise
        order = before
    else:
        order = (await orders.PlaceOrder(placing)).order
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/orders/{order.order_id}"
    return mapping.placed_order(order)


async def _priced(
    new: NewOrder, inventory: Inventory, idempotency_key: str | None
) -> PlaceOrderRequest:
    asked = {line.sku for line in new.lines}
    quote = await inventory.QuoteProducts(QuoteProductsRequest(skus=sorted(asked)))
    prices = {product.sku: product.price for product in quote.products}
    return mapping.place_order_request(uuid7(), new, prices, idempotency_key)


async def _placed_before(
    new: NewOrder, orders: Orders, idempotency_key: str
) -> OrderMessage | None:
    """The order that this key has placed; None if there is none.

    Raises:
        InvalidArgument: the key was used for something else.
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
        Identifier | None, Query(description="only the orders of this customer")
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> OrderPage:
    """Newest first."""
    request = ListOrdersRequest(
        customer_id=customer_id or "", limit=limit, cursor=mapping.from_cursor("orders", cursor)
    )
    return mapping.order_page(await orders.ListOrders(request))


@orders.get("/{order_id}", summary="Show an order", responses=problems(404, 422, 503, 504))
async def get_order(order_id: OrderId, orders: Orders) -> Order:
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
    """What has happened to the order, then what happens, as server-sent events up to its end.

    Each is a CloudEvent in the JSON format; its id counts 1, 2, 3, … within the order. Its data is
    in protobuf's JSON, where 64-bit numbers, as an amount of money, are strings.
    """
    settings: GatewaySettings = request.app.state.settings
    page = await orders.ListOrderEvents(
        ListOrderEventsRequest(order_id=order_id, after=last_event_id)
    )
    if has_ended(page, last_event_id):
        # To a browser's EventSource this says: do not come back.
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    history = follow(
        orders,
        order_id,
        page,
        last_event_id,
        wakeups=wakeups,
        poll_seconds=settings.order_events_poll_seconds,
    )
    return event_stream(request, _sent(history))


async def _sent(history: AsyncGenerator[OrderEvent]) -> AsyncIterator[ServerSentEvent]:
    async with aclosing(history):
        async for event in history:
            type = json.loads(event.cloudevent)["type"]
            yield ServerSentEvent(event.cloudevent, id=str(event.sequence), event=type)
