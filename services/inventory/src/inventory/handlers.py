"""What inventory does when an order is placed, and when it ends."""

from collections.abc import Sequence

from chassis import EventRouter, Reject, Transaction
from inventory import domain, tables
from inventory.domain import Invalid, ReservationStatus
from shop.inventory.v1 import StockRejected, StockReserved
from shop.orders.v1 import OrderCancelled, OrderConfirmed, OrderPlaced

__all__ = ["ReservationMissing", "events"]

events = EventRouter()


class ReservationMissing(LookupError):
    """An order was confirmed whose reservation is not known yet."""


@events.on(OrderPlaced)
def reserve_stock(order: OrderPlaced, tx: Transaction) -> None:
    """Set all lines aside, or nothing."""
    _check(order.order_id)
    try:
        wanted = domain.wanted((line.sku, line.quantity) for line in order.lines)
    except Invalid as wrong:
        raise Reject(f"{wrong.field} {wrong}") from wrong
    if not tables.add_reservation(tx.session, order.order_id, ReservationStatus.RESERVED):
        return  # decided before, or cancelled before it came here
    tables.lock_stock(tx.session)
    short = domain.short_of(wanted, tables.on_hand(tx.session, list(wanted)))
    if short:
        tables.reject(tx.session, order.order_id)
        tx.publish(StockRejected(order_id=order.order_id, skus=short))
    else:
        tables.take(tx.session, order.order_id, wanted)
        tx.publish(
            StockReserved(order_id=order.order_id, customer_id=order.customer_id, total=order.total)
        )


@events.on_batch(OrderConfirmed)
def record_sales(orders: Sequence[OrderConfirmed], tx: Transaction) -> None:
    """Turn reservations into sales."""
    confirmed = [order.order_id for order in orders]
    _check(*confirmed)
    not_open = set(confirmed) - tables.sell(tx.session, confirmed)
    if not not_open:
        return
    known = tables.statuses(tx.session, sorted(not_open))
    for order_id in sorted(not_open):
        if order_id not in known:
            raise ReservationMissing(f"order {order_id} was confirmed before it was reserved")
        if known[order_id] is not ReservationStatus.SOLD:
            raise Reject(f"order {order_id} was confirmed, its stock is {known[order_id]}")


@events.on(OrderCancelled)
def give_stock_back(order: OrderCancelled, tx: Transaction) -> None:
    """Give back what was set aside; remember an order that has not been asked for yet."""
    _check(order.order_id)
    if tables.add_reservation(tx.session, order.order_id, ReservationStatus.TOO_LATE):
        return
    if tables.release(tx.session, order.order_id):
        tables.lock_stock(tx.session)
        tables.give_back(tx.session, order.order_id)


def _check(*order_ids: str) -> None:
    """Raises Reject for what cannot be an order's id."""
    for order_id in order_ids:
        if not domain.is_identifier(order_id):
            raise Reject(f"{order_id[:64]!r} is no order's id")
