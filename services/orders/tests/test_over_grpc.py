"""The gRPC server of orders, on both databases."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio

from chassis import InvalidArgument, NotFound, Service
from chassis.rpc import Clients
from chassis.testing import HandlerHarness
from orders.service import service
from shop.money.v1 import Money
from shop.orders.v1 import (
    GetOrderRequest,
    GetOrdersLedgerRequest,
    OrderLine,
    OrdersService,
    OrdersServiceAsyncStub,
    PlaceOrderRequest,
)


@pytest_asyncio.fixture
async def orders(
    harness: HandlerHarness, serve: Callable[[Service, HandlerHarness], Awaitable[Clients]]
) -> OrdersServiceAsyncStub:
    clients = await serve(service, harness)
    return clients.stub(OrdersService, OrdersServiceAsyncStub)


def request(order_id: str, quantity: int = 1) -> PlaceOrderRequest:
    line = OrderLine(sku="milk", quantity=quantity, price=Money(amount=199, currency="USD"))
    return PlaceOrderRequest(
        order_id=order_id, customer_id="c-1", lines=[line], idempotency_key="k-1"
    )


async def test_concurrent_requests_with_one_key_get_one_order(
    orders: OrdersServiceAsyncStub,
) -> None:
    answers = await asyncio.gather(*(orders.PlaceOrder(request(f"o-{n}")) for n in range(8)))
    assert len({answer.order.order_id for answer in answers}) == 1
    ledger = await orders.GetOrdersLedger(GetOrdersLedgerRequest())
    assert len(ledger.orders) == 1


async def test_an_invalid_argument_names_its_field(orders: OrdersServiceAsyncStub) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await orders.PlaceOrder(request("o-1", quantity=0))
    assert refused.value.field == "lines.0.quantity"
    assert refused.value.detail.startswith("lines.0.quantity must be 1 to 1000")


async def test_an_unknown_order_is_not_found_by_any_name(
    orders: OrdersServiceAsyncStub,
) -> None:
    for order_id in ("o-1", "", "\x00", "o" * 10_000):
        with pytest.raises(NotFound):
            await orders.GetOrder(GetOrderRequest(order_id=order_id))
