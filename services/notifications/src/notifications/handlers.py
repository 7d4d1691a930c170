"""The events of orders, which notify customers."""

from chassis import EventRouter, Reject, Transaction
from notifications import domain, tables
from notifications.mapping import cancel_reason_of
from notifications.tables import Notification
from shop.orders.v1 import OrderCancelled, OrderConfirmed

__all__ = ["events"]

events = EventRouter()


@events.on(OrderConfirmed)
def notify_of_confirmation(order: OrderConfirmed, tx: Transaction) -> None:
    total = order.total
    if not domain.is_currency(total.currency):
        raise Reject(f"{total.currency[:64]!r} is not a valid currency")
    text = domain.confirmation_text(order.order_id, total.amount, total.currency)
    _store(tx, Notification(order.order_id, order.customer_id, text))


@events.on(OrderCancelled)
def notify_of_cancellation(order: OrderCancelled, tx: Transaction) -> None:
    text = domain.cancellation_text(order.order_id, cancel_reason_of(order.reason))
    _store(tx, Notification(order.order_id, order.customer_id, text))


def _store(tx: Transaction, notification: Notification) -> None:
    """Insert a notification. Raise Reject if an id is malformed."""
    for name in (notification.order_id, notification.customer_id):
        if not domain.is_identifier(name):
            raise Reject(f"{name[:64]!r} is not a valid order or customer id")
    tables.add_notification(tx.session, notification)
