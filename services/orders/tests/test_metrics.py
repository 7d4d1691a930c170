"""What orders tells of its business: each order once when placed, once when it ends."""

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

PRICE = Money(amount=100, currency="USD")
OUTCOMES = ("confirmed", "out_of_stock", "payment_declined", "timed_out")


class Counted:
    """How much the metrics have grown since; other tests count in the same process."""

    def __init__(self) -> None:
        self._before = self._now()

    def more(self) -> dict[str, float]:
        """What has grown, by placed or outcome."""
        grown = {name: value - self._before[name] for name, value in self._now().items()}
        return {name: more for name, more in grown.items() if more}

    def _now(self) -> dict[str, float]:
        ended = {
            outcome: REGISTRY.get_sample_value("order_seconds_count", {"outcome": outcome})
            for outcome in OUTCOMES
        }
        counts = {"placed": REGISTRY.get_sample_value("orders_placed_total"), **ended}
        assert None not in counts.values()
        return {name: value or 0 for name, value in counts.items()}


def place(order_id: str, tx: Transaction) -> None:
    lines = [OrderLine(sku="milk", quantity=1, price=PRICE)]
    asked = PlaceOrderRequest(order_id=order_id, customer_id="c", lines=lines)
    Orders().place_order(asked, tx)


def test_an_order_is_counted_once_when_placed_and_once_by_its_outcome(
    harness: HandlerHarness,
) -> None:
    counted = Counted()
    for order_id in ("paid", "short", "late"):
        harness.transact(partial(place, order_id))
        harness.transact(partial(place, order_id))
    harness.handle(StockReserved(order_id="paid", total=PRICE))
    harness.handle(PaymentAuthorized(order_id="paid", payment_id="p", amount=PRICE))
    harness.handle(StockRejected(order_id="short", skus=["milk"]))
    harness.transact(lambda tx: saga.cancel_overdue(tx, timeout_seconds=-1))
    assert counted.more() == {"placed": 3, "confirmed": 1, "out_of_stock": 1, "timed_out": 1}


def test_what_is_rolled_back_is_not_counted(harness: HandlerHarness) -> None:
    harness.transact(partial(place, "o-1"))
    counted = Counted()

    def cancel_and_fail(tx: Transaction) -> None:
        message = StockRejected(order_id="o-1", skus=["milk"])
        event = EventContext(uuid7(), message.DESCRIPTOR.full_name, "somewhere")
        saga.receive(tx, [Received("o-1", Trigger.STOCK_REJECTED, event, message)])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        harness.transact(cancel_and_fail)
    assert counted.more() == {}
