"""The business metrics of orders, in addition to the chassis' metrics."""

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
    "order_seconds", "Time from placing an order to its end.", ["outcome"], buckets=_BUCKETS
)
# Each outcome has a sample from the start, because a rate needs the 0 before the first order.
for _outcome in (_CONFIRMED, *Reason):
    ORDER_SECONDS.labels(_outcome)


def count_placed(tx: Transaction) -> None:
    """Count a placed order after the commit."""
    tx.after_commit(ORDERS_PLACED.inc)


def count_ended(tx: Transaction, order: Order, ending: Ending) -> None:
    """Count an ended order by its outcome after the commit."""
    seconds = (ending.at - order.placed_at).total_seconds()
    outcome = ORDER_SECONDS.labels(ending.reason or _CONFIRMED)
    tx.after_commit(partial(outcome.observe, seconds))
