"""The HTTP API of notifications, on both databases."""

import httpx
import pytest
from fastapi import FastAPI

from chassis.testing import HandlerHarness
from notifications import api
from shop.money.v1 import Money
from shop.orders.v1 import CANCEL_REASON_OUT_OF_STOCK, OrderCancelled, OrderConfirmed

pytestmark = pytest.mark.unit


async def test_a_customers_notifications_are_listed_newest_first(harness: HandlerHarness) -> None:
    total = Money(amount=1999, currency="USD")
    await harness.handle_async(
        OrderConfirmed(order_id="o-1", customer_id="c-1", total=total),
        OrderConfirmed(order_id="o-2", customer_id="other", total=total),
        OrderCancelled(order_id="o-3", customer_id="c-1", reason=CANCEL_REASON_OUT_OF_STOCK),
    )
    app = FastAPI()
    app.include_router(api.router)
    app.state.database = harness.database
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://notifications") as client:
        answer = await client.get("/customers/c-1/notifications")
        newest = await client.get("/customers/c-1/notifications?limit=1")
    assert sorted(entry["order_id"] for entry in answer.json()) == ["o-1", "o-3"]
    assert newest.json() == answer.json()[:1]
