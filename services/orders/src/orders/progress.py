"""Moves an order on: what the rules say is written, published and recorded in one transaction."""

from datetime import UTC, datetime

from google.protobuf.message import Message

from chassis import EventContext, Reject, Transaction
from chassis.events.cloudevents import decode, to_structured
from orders import domain, tables
from orders.domain import Draft, News, Reason, Status, Step
from orders.messages import line_messages, reason_message, timestamp
from orders.tables import Ending, Order
from shop.money.v1 import Money
from shop.orders.v1 import OrderCancelled, OrderConfirmed, OrderPlaced, PaymentRefundRequested

__all__ = ["cancel_overdue", "hear", "place"]

# How many overdue orders one transaction cancels: it holds their rows meanwhile.
_OVERDUE_AT_ONCE = 200
_STRUCTURED = {"Content-Type": "application/cloudevents+json"}


def place(tx: Transaction, draft: Draft) -> Order | None:
    """Place the order, publish and record it; None if its id or idempotency key is taken."""
    placed_at = datetime.now(UTC)
    order = tables.add_order(tx.session, draft, placed_at)
    if order is None:
        return None
    placed = OrderPlaced(
        order_id=draft.order_id,
        customer_id=draft.customer_id,
        lines=line_messages(draft.lines, draft.currency),
        total=Money(amount=draft.total, currency=draft.currency),
        placed_at=timestamp(placed_at),
    )
    tables.start_record(tx.session, order.order_id, _publish(tx, placed))
    return order


def hear(
    tx: Transaction,
    order_id: str,
    news: News,
    event: EventContext,
    message: Message,
    paid: Money | None = None,
) -> None:
    """Record what another service says about an order, and take the step that follows from it.

    `paid` is what has to be given back if the order has been cancelled meanwhile.

    Raises:
        Reject: there is no such order, and there never will be.
    """
    order = tables.lock_order(tx.session, order_id)
    if order is None:
        raise Reject(f"there is no order {order_id!r}")
    _advance(tx, order, news, [to_structured(event, message).decode()], paid=paid)


def cancel_overdue(tx: Transaction, timeout_seconds: float) -> None:
    """Cancel orders that have been pending for too long."""
    before = domain.overdue_before(datetime.now(UTC), timeout_seconds)
    overdue = tables.lock_overdue(tx.session, before, _OVERDUE_AT_ONCE)
    if not overdue:
        return
    placed = tables.first_events(tx.session, [order.order_id for order in overdue])
    for order in overdue:
        # No event leads here but the one the order began with.
        cause = decode(_STRUCTURED, placed[order.order_id].encode()).context
        _advance(tx, order, News.TIME_IS_UP, [], cause=cause)


def _advance(
    tx: Transaction,
    order: Order,
    news: News,
    heard: list[str],
    *,
    paid: Money | None = None,
    cause: EventContext | None = None,
) -> None:
    step, reason = domain.step(order.status, news)
    now = datetime.now(UTC)
    ending: Ending | None = None
    if step is Step.CONFIRM:
        ending = Ending(Status.CONFIRMED, None, now)
        heard.append(_publish(tx, _confirmed(order, now), cause))
    elif step is Step.CANCEL:
        ending = Ending(Status.CANCELLED, reason, now)
        heard.append(_publish(tx, _cancelled(order, reason, now), cause))
    elif step is Step.REFUND:
        refund = PaymentRefundRequested(order_id=order.order_id, amount=paid)
        heard.append(_publish(tx, refund, cause))
    tables.record(tx.session, order, heard, ending)


def _confirmed(order: Order, at: datetime) -> OrderConfirmed:
    return OrderConfirmed(
        order_id=order.order_id,
        customer_id=order.customer_id,
        total=Money(amount=order.total, currency=order.currency),
        confirmed_at=timestamp(at),
    )


def _cancelled(order: Order, reason: Reason | None, at: datetime) -> OrderCancelled:
    return OrderCancelled(
        order_id=order.order_id,
        customer_id=order.customer_id,
        reason=reason_message(reason),
        cancelled_at=timestamp(at),
    )


def _publish(tx: Transaction, message: Message, cause: EventContext | None = None) -> str:
    """Publish, and return the event as the order's record keeps it."""
    return to_structured(tx.publish(message, cause=cause), message).decode()
