"""The business metrics of payments, in addition to the chassis' metrics."""

from functools import partial

from prometheus_client import Counter, Histogram

from chassis import Transaction
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined

__all__ = ["PAYMENTS", "PAYMENT_AMOUNT", "count_decision"]

_AUTHORIZED, _DECLINED = "authorized", "declined"
_BUCKETS = tuple(digit * 10**power for power in range(1, 7) for digit in (1, 2, 5))

PAYMENTS = Counter("payments_total", "Payments decided.", ["outcome"])
PAYMENT_AMOUNT = Histogram(
    "payment_amount", "Published amounts of authorized payments, in minor units.", buckets=_BUCKETS
)
# Each outcome has a sample from the start, because a rate needs the 0 before the first payment.
for _outcome in (_AUTHORIZED, _DECLINED):
    PAYMENTS.labels(_outcome)


def count_decision(tx: Transaction, decision: PaymentAuthorized | PaymentDeclined) -> None:
    """Count a published decision after the commit, by the amount that other services will see."""
    if isinstance(decision, PaymentAuthorized):
        tx.after_commit(PAYMENTS.labels(_AUTHORIZED).inc)
        tx.after_commit(partial(PAYMENT_AMOUNT.observe, decision.amount.amount))
    else:
        tx.after_commit(PAYMENTS.labels(_DECLINED).inc)
