"""The handlers of notifications, on both databases and without a broker."""

import pytest

from chassis import InvalidArgument
from chassis.testing import HandlerHarness
from notifications.rpc import Notifications
from shop.money.v1 import Money
from shop.notifications.v1 import (
    GetNotificationsLedgerRequest,
    ListNotificationsRequest,
    Notification,
)
from shop.orders.v1 import (
    CANCEL_REASON_OUT_OF_STOCK,
    CANCEL_REASON_UNSPECIFIED,
    CancelReason,
    OrderCancelled,
    OrderConfirmed,
)

pytestmark = [pytest.mark.dialect, pytest.mark.unit]


def confirm(harness: HandlerHarness, order_id: str = "o-1", customer_id: str = "c-1") -> None:
    order = OrderConfirmed(
        order_id=order_id, customer_id=customer_id, total=Money(amount=1999, currency="USD")
    )
    harness.handle(order)


def cancel(harness: HandlerHarness, reason: CancelReason.ValueType) -> None:
    order = OrderCancelled(order_id="o-1", customer_id="c-1", reason=reason)
    harness.handle(order)


def listed(harness: HandlerHarness, customer_id: str = "", limit: int = 0) -> list[Notification]:
    request = ListNotificationsRequest(customer_id=customer_id, limit=limit)
    answer = harness.transact(lambda tx: Notifications().list_notifications(request, tx))
    return list(answer.notifications)


def ledger(harness: HandlerHarness) -> dict[str, int]:
    """Read the ledger two orders a page, and return the number of notifications by order id."""
    counts: dict[str, int] = {}
    request = GetNotificationsLedgerRequest(limit=2)
    while True:
        page = harness.transact(lambda tx: Notifications().get_notifications_ledger(request, tx))
        counts |= {entry.order_id: entry.count for entry in page.entries}
        if not page.next_cursor:
            return counts
        request.cursor = page.next_cursor


def test_the_customer_of_a_confirmed_order_is_notified(harness: HandlerHarness) -> None:
    confirm(harness)
    assert listed(harness) == [
        Notification(
            order_id="o-1",
            customer_id="c-1",
            text="Your order o-1 is confirmed: 19.99 USD.",
        )
    ]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (CANCEL_REASON_OUT_OF_STOCK, "out of stock"),
        (CANCEL_REASON_UNSPECIFIED, "could not fulfil"),
    ],
)
def test_the_customer_of_a_cancelled_order_is_notified_of_the_reason(
    harness: HandlerHarness, reason: CancelReason.ValueType, words: str
) -> None:
    cancel(harness, reason)
    (notification,) = listed(harness)
    assert words in notification.text


def test_an_order_gets_one_notification(harness: HandlerHarness) -> None:
    confirm(harness)
    confirm(harness)
    cancel(harness, CANCEL_REASON_OUT_OF_STOCK)
    assert ledger(harness) == {"o-1": 1}


def test_notifications_are_listed_newest_first_and_by_customer(harness: HandlerHarness) -> None:
    for number in range(4):
        confirm(harness, f"o-{number}", f"c-{number % 2}")
    assert [n.order_id for n in listed(harness)] == ["o-3", "o-2", "o-1", "o-0"]
    assert [n.order_id for n in listed(harness, "c-1")] == ["o-3", "o-1"]
    assert [n.order_id for n in listed(harness, limit=1)] == ["o-3"]


def test_the_ledger_is_read_page_by_page(harness: HandlerHarness) -> None:
    for number in range(5):
        confirm(harness, f"o-{number}")
    assert ledger(harness) == {f"o-{number}": 1 for number in range(5)}


@pytest.mark.parametrize("limit", [-1, 101])
def test_an_invalid_limit_is_refused(harness: HandlerHarness, limit: int) -> None:
    with pytest.raises(InvalidArgument) as refused:
        listed(harness, limit=limit)
    assert refused.value.field == "limit"
