"""The saga of an order: each transition is written, published and recorded in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.message import Message

from chassis import EventContext, Reject, Transaction
from chassis.events import decode, to_structured
from orders import domain, metrics, tables
from orders.domain import Action, Draft, Reason, Status, Trigger
from orders.mapping import line_messages, reason_message, timestamp
from orders.tables import Change, Ending, Entry, Order
from shop.money.v1 import Money
from shop.orders.v1 import OrderCancelled, OrderConfirmed, OrderPlaced, PaymentRefundRequested

__all__ = ["Received", "cancel_overdue", "place", "receive"]

# How many overdue orders a statement is about, and how many times over one transaction cancels
# as many: it holds their rows meanwhile.
_OVERDUE_AT_ONCE = 200
_OVERDUE_TIMES = 10
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
    metrics.count_placed(tx)
    return order


@dataclass(frozen=True, slots=True)
class Received:
    """What triggers a transition of an order, and the event that says so.

    `paid` is what has to be given back if the order has been cancelled meanwhile.
    """

    order_id: str
    trigger: Trigger
    event: EventContext
    message: Message
    paid: Money | None = None


def receive(tx: Transaction, received: Sequence[Received]) -> None:
    """Record events about orders, and make the transitions that follow from them, one by one.

    Raises:
        Reject: there is no such order, and there never will be.
    """
    ids = {item.order_id for item in received if domain.is_identifier(item.order_id)}
    orders = tables.lock_orders(tx.session, ids)
    changes = {order_id: Change(order) for order_id, order in orders.items()}
    for item in received:
        if item.order_id not in changes:
            raise Reject(f"there is no order {item.order_id[:64]!r}")
        change = changes[item.order_id]
        change.entries.append(Entry(to_structured(item.event, item.message).decode()))
        _advance(tx, change, item.trigger, item.event, paid=item.paid)
    tables.record(tx.session, list(changes.values()))


def cancel_overdue(tx: Transaction, timeout_seconds: float) -> None:
    """Cancel orders that have been pending for too long."""
    before = domain.overdue_before(datetime.now(UTC), timeout_seconds)
    for _ in range(_OVERDUE_TIMES):
        if _cancel_some(tx, before) < _OVERDUE_AT_ONCE:
            return


def _cancel_some(tx: Transaction, before: datetime) -> int:
    overdue = tables.lock_overdue(tx.session, before, _OVERDUE_AT_ONCE)
    if not overdue:
        return 0
    placed = tables.first_events(tx.session, [order.order_id for order in overdue])
    changes = [Change(order) for order in overdue]
    for change in changes:
        # No event leads here but the one the order began with.
        cause = decode(_STRUCTURED, placed[change.order.order_id].encode()).context
        _advance(tx, change, Trigger.TIME_IS_UP, cause)
    tables.record(tx.session, changes)
    return len(overdue)


def _advance(
    tx: Transaction,
    change: Change,
    trigger: Trigger,
    cause: EventContext,
    *,
    paid: Money | None = None,
) -> None:
    action, reason = domain.transition(change.status, trigger)
    order, now = change.order, datetime.now(UTC)
    if action is Action.CONFIRM:
        _end(tx, change, Ending(Status.CONFIRMED, None, now))
        change.entries.append(Entry(_publish(tx, _confirmed(order, now), cause), terminal=True))
    elif action is Action.CANCEL:
        _end(tx, change, Ending(Status.CANCELLED, reason, now))
        cancelled = _cancelled(order, reason, now)
        change.entries.append(Entry(_publish(tx, cancelled, cause), terminal=True))
    elif action is Action.REFUND:
        refund = PaymentRefundRequested(order_id=order.order_id, amount=paid)
        change.entries.append(Entry(_publish(tx, refund, cause)))


def _end(tx: Transaction, change: Change, ending: Ending) -> None:
    change.ending = ending
    metrics.count_ended(tx, change.order, ending)


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
