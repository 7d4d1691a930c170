"""What notifications does when an order has ended."""

from collections.abc import Sequence

from chassis import EventRouter, Reject, Transaction
from notifications import domain, tables
from notifications.domain import Cancelled
from notifications.tables import Notification
from shop.orders.v1 import (
    CANCEL_REASON_OUT_OF_STOCK,
    CANCEL_REASON_PAYMENT_DECLINED,
    CANCEL_REASON_TIMED_OUT,
    CancelReason,
    OrderCancelled,
    OrderConfirmed,
)

__all__ = ["events"]

events = EventRouter()

_REASONS: dict[CancelReason.ValueType, Cancelled] = {
    CANCEL_REASON_OUT_OF_STOCK: Cancelled.OUT_OF_STOCK,
    CANCEL_REASON_PAYMENT_DECLINED: Cancelled.PAYMENT_DECLINED,
    CANCEL_REASON_TIMED_OUT: Cancelled.TIMED_OUT,
}


@events.on_batch(OrderConfirmed)
def tell_of_confirmation(orders: Sequence[OrderConfirmed], tx: Transaction) -> None:
    _tell(tx, [_confirmation(order) for order in orders])


@events.on_batch(OrderCancelled)
def tell_of_cancellation(orders: Sequence[OrderCancelled], tx: Transaction) -> None:
    _tell(tx, [_cancellation(order) for order in orders])


def _confirmation(order: OrderConfirmed) -> Notification:
    total = order.total
    if not domain.is_currency(total.currency):
        raise Reject(f"{total.currency[:64]!r} is no currency")
    text = domain.text_of_confirmation(order.order_id, total.amount, total.currency)
    return Notification(order.order_id, order.customer_id, text)


def _cancellation(order: OrderCancelled) -> Notification:
    why = _REASONS.get(order.reason, Cancelled.FOR_SOME_REASON)
    text = domain.text_of_cancellation(order.order_id, why)
    return Notification(order.order_id, order.customer_id, text)


def _tell(tx: Transaction, told: Sequence[Notification]) -> None:
    for notification in told:
        for name in (notification.order_id, notification.customer_id):
            if not domain.is_identifier(name):
                raise Reject(f"{name[:64]!r} is no order's or customer's id")
    tables.add_notifications(tx.session, told)
