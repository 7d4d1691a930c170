"""What notifications does when an order has ended."""

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


@events.on(OrderConfirmed)
def tell_of_confirmation(order: OrderConfirmed, tx: Transaction) -> None:
    total = order.total
    if not domain.is_currency(total.currency):
        raise Reject(f"{total.currency[:64]!r} is no currency")
    text = domain.text_of_confirmation(order.order_id, total.amount, total.currency)
    _tell(tx, Notification(order.order_id, order.customer_id, text))


@events.on(OrderCancelled)
def tell_of_cancellation(order: OrderCancelled, tx: Transaction) -> None:
    why = _REASONS.get(order.reason, Cancelled.FOR_SOME_REASON)
    text = domain.text_of_cancellation(order.order_id, why)
    _tell(tx, Notification(order.order_id, order.customer_id, text))


def _tell(tx: Transaction, notification: Notification) -> None:
    for name in (notification.order_id, notification.customer_id):
        if not domain.is_identifier(name):
            raise Reject(f"{name[:64]!r} is no order's or customer's id")
    tables.add_notification(tx.session, notification)
