"""Rows of orders as messages of the contract."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from orders.domain import Line, Reason, Status
from orders.tables import LedgerRow, Order
from shop.money.v1 import Money
from shop.orders.v1 import (
    CANCEL_REASON_OUT_OF_STOCK,
    CANCEL_REASON_PAYMENT_DECLINED,
    CANCEL_REASON_TIMED_OUT,
    CANCEL_REASON_UNSPECIFIED,
    ORDER_STATUS_CANCELLED,
    ORDER_STATUS_CONFIRMED,
    ORDER_STATUS_PENDING,
    CancelReason,
    OrderEntry,
    OrderLine,
    OrderStatus,
)
from shop.orders.v1 import Order as OrderMessage

__all__ = ["entry_message", "line_messages", "order_message", "reason_message", "timestamp"]

_STATUSES: dict[Status, OrderStatus.ValueType] = {
    Status.PENDING: ORDER_STATUS_PENDING,
    Status.CONFIRMED: ORDER_STATUS_CONFIRMED,
    Status.CANCELLED: ORDER_STATUS_CANCELLED,
}
_REASONS: dict[Reason | None, CancelReason.ValueType] = {
    None: CANCEL_REASON_UNSPECIFIED,
    Reason.OUT_OF_STOCK: CANCEL_REASON_OUT_OF_STOCK,
    Reason.PAYMENT_DECLINED: CANCEL_REASON_PAYMENT_DECLINED,
    Reason.TIMED_OUT: CANCEL_REASON_TIMED_OUT,
}


def order_message(order: Order) -> OrderMessage:
    return OrderMessage(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=_STATUSES[order.status],
        reason=_REASONS[order.reason],
        lines=line_messages(order.lines, order.currency),
        total=Money(amount=order.total, currency=order.currency),
        placed_at=timestamp(order.placed_at),
        ended_at=timestamp(order.ended_at) if order.ended_at else None,
    )


def line_messages(lines: tuple[Line, ...], currency: str) -> list[OrderLine]:
    return [
        OrderLine(
            sku=line.sku, quantity=line.quantity, price=Money(amount=line.price, currency=currency)
        )
        for line in lines
    ]


def entry_message(row: LedgerRow) -> OrderEntry:
    lasted = row.ended_at - row.placed_at if row.ended_at else None
    return OrderEntry(
        order_id=row.order_id,
        status=_STATUSES[row.status],
        reason=_REASONS[row.reason],
        total=Money(amount=row.total, currency=row.currency),
        duration_micros=round(lasted.total_seconds() * 1_000_000) if lasted else 0,
        endings=row.endings,
    )


def reason_message(reason: Reason | None) -> CancelReason.ValueType:
    return _REASONS[reason]


def timestamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message
