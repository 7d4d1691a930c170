"""The business metrics of payments count each decision once, by its published amount."""

import pytest
from prometheus_client import REGISTRY

from chassis.testing import HandlerHarness
from shop.inventory.v1 import StockReserved
from shop.money.v1 import Money

pytestmark = pytest.mark.unit


def counted() -> dict[str, float]:
    """Return the counts, in which those of other tests in the same process are included."""
    values = {
        "authorized": REGISTRY.get_sample_value("payments_total", {"outcome": "authorized"}),
        "declined": REGISTRY.get_sample_value("payments_total", {"outcome": "declined"}),
        "amounts": REGISTRY.get_sample_value("payment_amount_count"),
        "up to 500": REGISTRY.get_sample_value("payment_amount_bucket", {"le": "500.0"}),
        "sum": REGISTRY.get_sample_value("payment_amount_sum"),
    }
    assert None not in values.values()
    return {name: value or 0 for name, value in values.items()}


def test_each_decision_is_counted_once_and_the_amount_of_an_authorized_payment(
    harness: HandlerHarness,
) -> None:
    before = counted()
    for order_id, total in (("small", 400), ("small", 400), ("large", 900), ("too large", 1001)):
        amount = Money(amount=total, currency="USD")
        harness.handle(StockReserved(order_id=order_id.replace(" ", "-"), total=amount))
    assert {name: value - before[name] for name, value in counted().items()} == {
        "authorized": 2,
        "declined": 1,
        "amounts": 2,
        "up to 500": 1,
        "sum": 1300,
    }
