"""Rows of payments as messages of the contract."""

from payments.tables import LedgerRow, Payment
from shop.money.v1 import Money
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined, PaymentEntry, PaymentRefunded

__all__ = ["ledger_entry", "payment_authorized", "payment_declined", "payment_refunded"]


def payment_authorized(payment: Payment) -> PaymentAuthorized:
    return PaymentAuthorized(
        order_id=payment.order_id, payment_id=payment.payment_id, amount=_amount(payment)
    )


def payment_declined(payment: Payment, reason: str) -> PaymentDeclined:
    return PaymentDeclined(order_id=payment.order_id, reason=reason)


def payment_refunded(payment: Payment) -> PaymentRefunded:
    return PaymentRefunded(
        order_id=payment.order_id, payment_id=payment.payment_id, amount=_amount(payment)
    )


def ledger_entry(row: LedgerRow) -> PaymentEntry:
    return PaymentEntry(
        order_id=row.order_id,
        captured=Money(amount=row.captured, currency=row.currency),
        refunded=Money(amount=row.refunded, currency=row.currency),
    )


def _amount(payment: Payment) -> Money:
    return Money(amount=payment.amount, currency=payment.currency)
