"""The handlers of payments, on both databases and without a broker."""

from threading import Barrier, Thread

import pytest
from google.protobuf.message import Message

from chassis import Reject
from chassis.testing import HandlerHarness
from payments import handlers
from payments.rpc import Payments
from payments.settings import PaymentsSettings
from shop.inventory.v1 import StockReserved
from shop.money.v1 import Money
from shop.orders.v1 import PaymentRefundRequested
from shop.payments.v1 import (
    GetPaymentsLedgerRequest,
    PaymentAuthorized,
    PaymentDeclined,
    PaymentRefunded,
)

pytestmark = [pytest.mark.dialect, pytest.mark.unit]


def reserved(total: int = 800, order_id: str = "o-1") -> StockReserved:
    return StockReserved(order_id=order_id, total=Money(amount=total, currency="USD"))


def reserve(harness: HandlerHarness, event: StockReserved) -> None:
    harness.handle(event)


def refund(harness: HandlerHarness, order_id: str = "o-1") -> None:
    request = PaymentRefundRequested(order_id=order_id, amount=Money(amount=800, currency="USD"))
    harness.handle(request)


def ledger(harness: HandlerHarness) -> dict[str, tuple[int, int]]:
    """Read the ledger two orders a page, and return (captured, refunded) by order id."""
    entries: dict[str, tuple[int, int]] = {}
    request = GetPaymentsLedgerRequest(limit=2)
    while True:
        page = harness.transact(lambda tx: Payments().get_payments_ledger(request, tx))
        for entry in page.payments:
            entries[entry.order_id] = (entry.captured.amount, entry.refunded.amount)
        if not page.next_cursor:
            return entries
        request.cursor = page.next_cursor


def kinds(messages: list[Message]) -> list[type[Message]]:
    return [type(message) for message in messages]


def test_a_total_within_the_limit_is_captured(harness: HandlerHarness) -> None:
    reserve(harness, reserved(1000))
    (authorized,) = harness.published
    assert isinstance(authorized, PaymentAuthorized)
    assert authorized.amount == Money(amount=1000, currency="USD")
    assert authorized.payment_id
    assert ledger(harness) == {"o-1": (1000, 0)}


def test_a_total_over_the_limit_is_declined(harness: HandlerHarness) -> None:
    reserve(harness, reserved(1001))
    assert harness.published == [
        PaymentDeclined(order_id="o-1", reason="1001 is over the limit of 1000")
    ]
    assert ledger(harness) == {"o-1": (0, 0)}


def test_an_order_pays_once(harness: HandlerHarness) -> None:
    reserve(harness, reserved())
    reserve(harness, reserved())
    assert kinds(harness.published) == [PaymentAuthorized]
    assert ledger(harness) == {"o-1": (800, 0)}


def test_an_order_reserved_twice_concurrently_pays_once(harness: HandlerHarness) -> None:
    ready, settings = Barrier(2), PaymentsSettings()

    def run() -> None:
        ready.wait()
        harness.transact(lambda tx: handlers.authorize_or_decline(reserved(), tx, settings))

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kinds(harness.published) == [PaymentAuthorized]


def test_a_payment_is_refunded_once(harness: HandlerHarness) -> None:
    reserve(harness, reserved())
    refund(harness)
    refund(harness)
    authorized, refunded = harness.published
    assert isinstance(authorized, PaymentAuthorized)
    assert refunded == PaymentRefunded(
        order_id="o-1", payment_id=authorized.payment_id, amount=authorized.amount
    )
    assert ledger(harness) == {"o-1": (800, 800)}


def test_a_declined_payment_is_not_refunded(harness: HandlerHarness) -> None:
    reserve(harness, reserved(5000))
    refund(harness)
    assert kinds(harness.published) == [PaymentDeclined]
    assert ledger(harness) == {"o-1": (0, 0)}


def test_a_refund_requested_before_its_payment_follows_the_payment(harness: HandlerHarness) -> None:
    refund(harness)
    assert harness.published == []
    assert ledger(harness) == {"o-1": (0, 0)}
    reserve(harness, reserved())
    reserve(harness, reserved())
    authorized, refunded = harness.published
    assert isinstance(authorized, PaymentAuthorized)
    assert refunded == PaymentRefunded(
        order_id="o-1", payment_id=authorized.payment_id, amount=authorized.amount
    )
    assert ledger(harness) == {"o-1": (800, 800)}


@pytest.mark.parametrize(
    "total", [Money(), Money(amount=-1, currency="USD"), Money(amount=1, currency="DOLLAR")]
)
def test_an_invalid_amount_is_rejected(harness: HandlerHarness, total: Money) -> None:
    event = StockReserved(order_id="o-1", total=total)
    with pytest.raises(Reject):
        reserve(harness, event)
    assert ledger(harness) == {}


def test_the_ledger_is_read_page_by_page(harness: HandlerHarness) -> None:
    for number in range(5):
        reserve(harness, reserved(100 + number, order_id=f"o-{number}"))
    assert ledger(harness) == {f"o-{number}": (100 + number, 0) for number in range(5)}


@pytest.mark.parametrize("order_id", ["o" * 65, "a b"])
def test_a_malformed_order_id_is_rejected(harness: HandlerHarness, order_id: str) -> None:
    with pytest.raises(Reject):
        reserve(harness, reserved(order_id=order_id))
    with pytest.raises(Reject):
        refund(harness, order_id)
    assert ledger(harness) == {}
