"""Rows of orders as messages of the contract, and back."""

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from chassis import InvalidArgument
from orders import domain
from orders.domain import Draft, Invalid, Line, Reason, Status
from orders.tables import HistoryRow, LedgerRow, Order
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
    OrderCancelled,
    OrderConfirmed,
    OrderEntry,
    OrderEvent,
    OrderLine,
    OrderPlaced,
    OrderStatus,
    PlaceOrderRequest,
)
from shop.orders.v1 import Order as OrderMessage

__all__ = [
    "draft_of",
    "event_message",
    "from_cursor",
    "ledger_entry",
    "order_cancelled",
    "order_confirmed",
    "order_message",
    "order_placed",
    "to_cursor",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(\d{1,16})\.(.+)", re.ASCII)
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


def draft_of(request: PlaceOrderRequest) -> Draft:
    """Return the requested order.

    Raises:
        Invalid: something is missing, malformed or too large, or the currencies differ.
    """
    currencies = {line.price.currency for line in request.lines}
    if len(currencies) > 1:
        raise Invalid("must have prices in one currency", "lines")
    return domain.make_draft(
        request.order_id,
        request.customer_id,
        request.idempotency_key,
        [Line(line.sku, line.quantity, line.price.amount) for line in request.lines],
        currency=next(iter(currencies), ""),
    )


def order_message(order: Order) -> OrderMessage:
    return OrderMessage(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=_STATUSES[order.status],
        reason=_REASONS[order.reason],
        lines=_lines(order),
        total=_total(order),
        placed_at=_timestamp(order.placed_at),
        ended_at=_timestamp(order.ended_at) if order.ended_at else None,
    )


def order_placed(order: Order) -> OrderPlaced:
    return OrderPlaced(
        order_id=order.order_id,
        customer_id=order.customer_id,
        lines=_lines(order),
        total=_total(order),
        placed_at=_timestamp(order.placed_at),
    )


def order_confirmed(order: Order, confirmed_at: datetime) -> OrderConfirmed:
    return OrderConfirmed(
        order_id=order.order_id,
        customer_id=order.customer_id,
        total=_total(order),
        confirmed_at=_timestamp(confirmed_at),
    )


def order_cancelled(order: Order, reason: Reason | None, cancelled_at: datetime) -> OrderCancelled:
    return OrderCancelled(
        order_id=order.order_id,
        customer_id=order.customer_id,
        reason=_REASONS[reason],
        cancelled_at=_timestamp(cancelled_at),
    )


def event_message(row: HistoryRow) -> OrderEvent:
    return OrderEvent(sequence=row.sequence, cloudevent=row.cloudevent, terminal=row.terminal)


def ledger_entry(row: LedgerRow) -> OrderEntry:
    duration = row.ended_at - row.placed_at if row.ended_at else None
    return OrderEntry(
        order_id=row.order_id,
        status=_STATUSES[row.status],
        reason=_REASONS[row.reason],
        total=Money(amount=row.total, currency=row.currency),
        duration_micros=round(duration.total_seconds() * 1_000_000) if duration else 0,
        endings=row.endings,
    )


def to_cursor(order: Order) -> str:
    """Return the cursor of the page of older orders that follows this order."""
    return f"{(order.placed_at - _EPOCH) // timedelta(microseconds=1)}.{order.order_id}"


def from_cursor(cursor: str) -> tuple[datetime, str]:
    """Return `placed_at` and `order_id` of the order that a cursor was made of.

    Raises:
        InvalidArgument: it is not a cursor of this service.
    """
    parts = _CURSOR.fullmatch(cursor)
    if not parts or not domain.is_identifier(parts[2]):
        raise InvalidArgument("cursor is not a next_cursor of this service", field="cursor")
    return _EPOCH + timedelta(microseconds=int(parts[1])), parts[2]


def _lines(order: Order) -> list[OrderLine]:
    return [
        OrderLine(
            sku=line.sku,
            quantity=line.quantity,
            price=Money(amount=line.price, currency=order.currency),
        )
        for line in order.lines
    ]


def _total(order: Order) -> Money:
    return Money(amount=order.total, currency=order.currency)


def _timestamp(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message
