"""What notifications does when an order has ended."""

from chassis import EventRouter, Transaction
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
    text = domain.text_of_confirmation(order.order_id, order.total.amount, order.total.currency)
    tables.add_notification(tx.session, Notification(order.order_id, order.customer_id, text))


@events.on(OrderCancelled)
def tell_of_cancellation(order: OrderCancelled, tx: Transaction) -> None:
    why = _REASONS.get(order.reason, Cancelled.FOR_SOME_REASON)
    text = domain.text_of_cancellation(order.order_id, why)
    tables.add_notification(tx.session, Notification(order.order_id, order.customer_id, text))
