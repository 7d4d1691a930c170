"""The events of orders, which reserve, sell and release stock."""

from collections.abc import Sequence

from chassis import EventRouter, Reject, Transaction
from inventory import domain, tables
from inventory.domain import Invalid, ReservationStatus
from shop.inventory.v1 import StockRejected, StockReserved
from shop.orders.v1 import OrderCancelled, OrderConfirmed, OrderPlaced

__all__ = ["ReservationMissing", "events"]

events = EventRouter()


class ReservationMissing(LookupError):
    """OrderConfirmed arrived before OrderPlaced. A later attempt finds the reservation."""


@events.on(OrderPlaced)
def reserve_stock(order: OrderPlaced, tx: Transaction) -> None:
    """Reserve all lines of an order, or nothing."""
    _check_ids(order.order_id)
    try:
        quantities = domain.sum_quantities((line.sku, line.quantity) for line in order.lines)
    except Invalid as error:
        raise Reject(f"{error.field} {error}") from error
    if not tables.add_reservation(tx.session, order.order_id, ReservationStatus.RESERVED):
        return  # The reservation was decided before, or the order was cancelled first.
    tables.lock_stock(tx.session)
    on_hand = tables.find_on_hand(tx.session, list(quantities))
    shortages = domain.find_shortages(quantities, on_hand)
    if shortages:
        tables.reject(tx.session, order.order_id)
        tx.publish(StockRejected(order_id=order.order_id, skus=shortages))
    else:
        tables.reserve(tx.session, order.order_id, quantities)
        tx.publish(
            StockReserved(order_id=order.order_id, customer_id=order.customer_id, total=order.total)
        )


@events.on_batch(OrderConfirmed)
def record_sales(orders: Sequence[OrderConfirmed], tx: Transaction) -> None:
    """Turn the reservations of confirmed orders into sales."""
    confirmed = [order.order_id for order in orders]
    _check_ids(*confirmed)
    unsold = sorted(set(confirmed) - tables.sell(tx.session, confirmed))
    if not unsold:
        return
    statuses = tables.find_statuses(tx.session, unsold)
    for order_id in unsold:
        if order_id not in statuses:
            raise ReservationMissing(f"order {order_id} was confirmed before it was reserved")
        if statuses[order_id] is not ReservationStatus.SOLD:
            raise Reject(
                f"order {order_id} was confirmed, but its reservation is {statuses[order_id]}"
            )


@events.on(OrderCancelled)
def release_stock(order: OrderCancelled, tx: Transaction) -> None:
    """Release the reservation of a cancelled order, or prevent it if OrderPlaced comes later."""
    _check_ids(order.order_id)
    if tables.add_reservation(tx.session, order.order_id, ReservationStatus.TOO_LATE):
        return
    if tables.release(tx.session, order.order_id):
        tables.lock_stock(tx.session)
        tables.restock(tx.session, order.order_id)


def _check_ids(*order_ids: str) -> None:
    """Raise Reject if an order's id is malformed."""
    for order_id in order_ids:
        if not domain.is_identifier(order_id):
            raise Reject(f"{order_id[:64]!r} is not a valid order id")
