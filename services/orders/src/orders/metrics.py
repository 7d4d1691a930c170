"""What orders tells of its business, beside the chassis' own metrics."""

from functools import partial

from prometheus_client import Counter, Histogram

from chassis import Transaction
from orders.domain import Reason
from orders.tables import Ending, Order

__all__ = ["ORDERS_PLACED", "ORDER_SECONDS", "count_ended", "count_placed"]

_CONFIRMED = "confirmed"
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

ORDERS_PLACED = Counter("orders_placed_total", "Orders placed.")
ORDER_SECONDS = Histogram(
    "order_seconds", "From an order's placing to its end.", ["outcome"], buckets=_BUCKETS
)
# Every outcome has samples from the start: a rate needs the 0 before the first one.
for _outcome in (_CONFIRMED, *Reason):
    ORDER_SECONDS.labels(_outcome)


def count_placed(tx: Transaction) -> None:
    """Count an order, once it is committed."""
    tx.after_commit(ORDERS_PLACED.inc)


def count_ended(tx: Transaction, order: Order, ending: Ending) -> None:
    """Count an end by its outcome, once it is committed."""
    seconds = (ending.at - order.placed_at).total_seconds()
    outcome = ORDER_SECONDS.labels(ending.reason or _CONFIRMED)
    tx.after_commit(partial(outcome.observe, seconds))
