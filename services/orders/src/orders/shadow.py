"""The orders that were placed, which a shadow restores from their events."""

from datetime import UTC

from chassis import EventContext, EventRouter, Shadow, Transaction
from chassis.events import to_structured
from orders import tables
from orders.domain import Draft, Line
from shop.orders.v1 import OrderPlaced

__all__ = ["shadow"]

placed = EventRouter()
shadow = Shadow(restores=[placed])


@placed.on(OrderPlaced)
def restore_order(message: OrderPlaced, tx: Transaction, event: EventContext) -> None:
    """Store an order as the RPC did that placed it; the event lacks its idempotency key."""
    lines = tuple(Line(line.sku, line.quantity, line.price.amount) for line in message.lines)
    draft = Draft(message.order_id, message.customer_id, None, lines, message.total.currency)
    placed_at = message.placed_at.ToDatetime(UTC)
    if tables.add_order(tx.session, draft, placed_at) is not None:
        history = to_structured(event, message).decode()
        tables.start_history(tx.session, message.order_id, history)
