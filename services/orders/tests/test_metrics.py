"""The business metrics of orders count each order once when placed and once when it ends."""

from functools import partial

import pytest
from prometheus_client import REGISTRY

from chassis import EventContext, Transaction
from chassis.events import uuid7
from chassis.testing import HandlerHarness
from orders import saga
from orders.domain import Trigger
from orders.rpc import Orders
from orders.saga import Received
from shop.inventory.v1 import StockRejected, StockReserved
from shop.money.v1 import Money
from shop.orders.v1 import OrderLine, PlaceOrderRequest
from shop.payments.v1 import PaymentAuthorized

pytestmark = pytest.mark.unit

PRICE = Money(amount=100, currency="USD")
OUTCOMES = ("confirmed", "out_of_stock", "payment_declined", "timed_out")


class Growth:
    """The growth of the metrics since this was made: other tests count in the same process."""

    def __init__(self) -> None:
        self._start = self._counts()

    def read(self) -> dict[str, float]:
        """Return the growth that is not 0, by "placed" or outcome."""
        grown = {name: value - self._start[name] for name, value in self._counts().items()}
        return {name: growth for name, growth in grown.items() if growth}

    def _counts(self) -> dict[str, float]:
        ended = {
            outcome: REGISTRY.get_sample_value("order_seconds_count", {"outcome": outcome})
            for outcome in OUTCOMES
        }
        counts = {"placed": REGISTRY.get_sample_value("orders_placed_total"), **ended}
        assert None not in counts.values()
        return {name: value or 0 for name, value in counts.items()}


def place(order_id: str, tx: Transaction) -> None:
    lines = [OrderLine(sku="milk", quantity=1, price=PRICE)]
    request = PlaceOrderRequest(order_id=order_id, customer_id="c", lines=lines)
    Orders().place_order(request, tx)


def test_an_order_is_counted_once_when_placed_and_once_by_its_outcome(
    harness: HandlerHarness,
) -> None:
    growth = Growth()
    for order_id in ("paid", "short", "late"):
        harness.transact(partial(place, order_id))
        harness.transact(partial(place, order_id))
    harness.handle(StockReserved(order_id="paid", total=PRICE))
    harness.handle(PaymentAuthorized(order_id="paid", payment_id="p", amount=PRICE))
    harness.handle(StockRejected(order_id="short", skus=["milk"]))
    harness.transact(lambda tx: saga.cancel_overdue(tx, timeout_seconds=-1))
    assert growth.read() == {"placed": 3, "confirmed": 1, "out_of_stock": 1, "timed_out": 1}


def test_a_transaction_that_is_rolled_back_is_not_counted(harness: HandlerHarness) -> None:
    harness.transact(partial(place, "o-1"))
    growth = Growth()

    def cancel_and_fail(tx: Transaction) -> None:
        message = StockRejected(order_id="o-1", skus=["milk"])
        event = EventContext(uuid7(), message.DESCRIPTOR.full_name, "somewhere")
        saga.receive(tx, Received("o-1", Trigger.STOCK_REJECTED, event, message))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        harness.transact(cancel_and_fail)
    assert growth.read() == {}
