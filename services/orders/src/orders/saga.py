"""The saga of an order.

Each transition writes the order, publishes an event and adds it to the history in one transaction.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.message import Message

from chassis import EventContext, Reject, Transaction
from chassis.events import decode, to_structured
from orders import domain, metrics, tables
from orders.domain import Action, Draft, Status, Trigger
from orders.mapping import order_cancelled, order_confirmed, order_placed
from orders.tables import Change, Ending, HistoryEntry, Order
from shop.money.v1 import Money
from shop.orders.v1 import PaymentRefundRequested

__all__ = ["Received", "cancel_overdue", "place", "receive"]

# A statement locks up to 200 overdue orders, and a transaction runs up to 10 such statements. Both
# are limited, because a transaction holds the locks until it ends.
_OVERDUE_BATCH_SIZE = 200
_OVERDUE_BATCHES = 10
_STRUCTURED = {"Content-Type": "application/cloudevents+json"}


def place(tx: Transaction, draft: Draft) -> Order | None:
    """Place an order, publish that and begin its history.

    Return None if the order's id or idempotency key is in use.
    """
    order = tables.add_order(tx.session, draft, placed_at=datetime.now(UTC))
    if order is None:
        return None
    tables.start_history(tx.session, order.order_id, _publish(tx, order_placed(order)))
    metrics.count_placed(tx)
    return order


@dataclass(frozen=True, slots=True)
class Received:
    """A received event about an order, and the trigger that it is.

    `paid` is the amount to refund if the order has been cancelled in the meantime.
    """

    order_id: str
    trigger: Trigger
    event: EventContext
    message: Message
    paid: Money | None = None


def receive(tx: Transaction, *received: Received) -> None:
    """Add events to the histories of their orders, and make the transitions that they trigger.

    Raises:
        Reject: an order does not exist. It never will exist, because this service creates an order
            before any event about it is published.
    """
    ids = {item.order_id for item in received if domain.is_identifier(item.order_id)}
    orders = tables.lock_orders(tx.session, ids)
    changes = {order_id: Change(order) for order_id, order in orders.items()}
    for item in received:
        if item.order_id not in changes:
            raise Reject(f"there is no order {item.order_id[:64]!r}")
        change = changes[item.order_id]
        change.entries.append(HistoryEntry(to_structured(item.event, item.message).decode()))
        _make_transition(tx, change, item.trigger, item.event, paid=item.paid)
    tables.apply_changes(tx.session, list(changes.values()))


def cancel_overdue(tx: Transaction, timeout_seconds: float) -> None:
    """Cancel orders that have been pending for more than `timeout_seconds`."""
    before = domain.overdue_before(datetime.now(UTC), timeout_seconds)
    for _ in range(_OVERDUE_BATCHES):
        if _cancel_overdue_batch(tx, before) < _OVERDUE_BATCH_SIZE:
            return


def _cancel_overdue_batch(tx: Transaction, before: datetime) -> int:
    """Cancel pending orders placed before a time, and return their number."""
    overdue = tables.lock_overdue(tx.session, before, _OVERDUE_BATCH_SIZE)
    if not overdue:
        return 0
    placed = tables.find_first_events(tx.session, [order.order_id for order in overdue])
    changes = [Change(order) for order in overdue]
    for change in changes:
        # No event triggers a time-out, so its cause is the event that placed the order.
        cause = decode(_STRUCTURED, placed[change.order.order_id].encode()).context
        _make_transition(tx, change, Trigger.TIME_IS_UP, cause)
    tables.apply_changes(tx.session, changes)
    return len(overdue)


def _make_transition(
    tx: Transaction,
    change: Change,
    trigger: Trigger,
    cause: EventContext,
    *,
    paid: Money | None = None,
) -> None:
    """Change the order as the saga's next step demands, and publish the event of that step."""
    action, reason = domain.transition(change.status, trigger)
    order, now = change.order, datetime.now(UTC)
    if action is Action.CONFIRM:
        _end_order(
            tx, change, Ending(Status.CONFIRMED, None, now), order_confirmed(order, now), cause
        )
    elif action is Action.CANCEL:
        ending = Ending(Status.CANCELLED, reason, now)
        _end_order(tx, change, ending, order_cancelled(order, reason, now), cause)
    elif action is Action.REFUND:
        refund = PaymentRefundRequested(order_id=order.order_id, amount=paid)
        change.entries.append(HistoryEntry(_publish(tx, refund, cause)))


def _end_order(
    tx: Transaction, change: Change, ending: Ending, message: Message, cause: EventContext
) -> None:
    """End an order, and publish `message`, which says how."""
    change.ending = ending
    change.entries.append(HistoryEntry(_publish(tx, message, cause), terminal=True))
    metrics.count_ended(tx, change.order, ending)


def _publish(tx: Transaction, message: Message, cause: EventContext | None = None) -> str:
    """Publish an event, and return it as a structured CloudEvent for the history."""
    return to_structured(tx.publish(message, cause=cause), message).decode()
