"""A shadow of orders has the orders that were placed, as the RPC stored them."""

from dataclasses import replace

import pytest

from chassis.testing import HandlerHarness
from orders import handlers, shadow, tables
from orders.rpc import Orders
from shop.inventory.v1 import StockReserved
from shop.money.v1 import Money
from shop.orders.v1 import OrderConfirmed, OrderLine, OrderPlaced, PlaceOrderRequest
from shop.payments.v1 import PaymentAuthorized

pytestmark = pytest.mark.unit


def test_an_order_is_restored_from_its_event_and_confirmed_by_later_ones(
    harness: HandlerHarness,
) -> None:
    lines = [
        OrderLine(sku=sku, quantity=2, price=Money(amount=amount, currency="USD"))
        for sku, amount in (("milk", 199), ("bread", 0))
    ]
    request = PlaceOrderRequest(
        order_id="o-1", customer_id="c-1", idempotency_key="k-1", lines=lines
    )
    harness.transact(lambda tx: Orders().place_order(request, tx))
    (placed,) = harness.published
    with harness.session() as session:
        before = tables.find_order(session, "o-1"), tables.list_history(session, "o-1", 0)

    with HandlerHarness(
        [shadow.placed, handlers.events],
        publishes=[OrderPlaced, OrderConfirmed],
        tables=tables.metadata,
        service="orders",
    ) as shadowed:
        shadowed.handle(placed, placed)
        with shadowed.session() as session:
            after = tables.find_order(session, "o-1"), tables.list_history(session, "o-1", 0)
        total = Money(amount=398, currency="USD")
        shadowed.handle(
            StockReserved(order_id="o-1", total=total),
            PaymentAuthorized(order_id="o-1", payment_id="p-1", amount=total),
        )
        (confirmed,) = shadowed.published

    assert after[0] == before[0]
    assert [replace(row, cloudevent="") for row in after[1]] == [
        replace(row, cloudevent="") for row in before[1]
    ]
    assert isinstance(confirmed, OrderConfirmed)
    assert confirmed.total == total
