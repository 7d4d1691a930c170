"""Rows of notifications as messages of the contract, and back."""

from notifications.domain import CancelReason
from notifications.tables import Notification
from shop.notifications.v1 import Notification as NotificationMessage
from shop.notifications.v1 import NotificationEntry
from shop.orders.v1 import (
    CANCEL_REASON_OUT_OF_STOCK,
    CANCEL_REASON_PAYMENT_DECLINED,
    CANCEL_REASON_TIMED_OUT,
)
from shop.orders.v1 import CancelReason as CancelReasonMessage

__all__ = ["cancel_reason_of", "ledger_entry", "notification_message"]

_REASONS: dict[CancelReasonMessage.ValueType, CancelReason] = {
    CANCEL_REASON_OUT_OF_STOCK: CancelReason.OUT_OF_STOCK,
    CANCEL_REASON_PAYMENT_DECLINED: CancelReason.PAYMENT_DECLINED,
    CANCEL_REASON_TIMED_OUT: CancelReason.TIMED_OUT,
}


def cancel_reason_of(reason: CancelReasonMessage.ValueType) -> CancelReason:
    """Return the reason; UNKNOWN for a reason that a later version of orders has added."""
    return _REASONS.get(reason, CancelReason.UNKNOWN)


def notification_message(row: Notification) -> NotificationMessage:
    return NotificationMessage(order_id=row.order_id, customer_id=row.customer_id, text=row.text)


def ledger_entry(order_id: str, count: int) -> NotificationEntry:
    return NotificationEntry(order_id=order_id, count=count)
