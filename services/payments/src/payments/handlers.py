"""The events of inventory and orders, which authorize, decline and refund payments."""

from dataclasses import replace

from chassis import EventRouter, Reject, Transaction
from chassis.events import uuid7
from payments import domain, metrics, tables
from payments.domain import PaymentStatus
from payments.mapping import payment_authorized, payment_declined, payment_refunded
from payments.settings import PaymentsSettings
from payments.tables import Payment
from shop.inventory.v1 import StockReserved
from shop.money.v1 import Money
from shop.orders.v1 import PaymentRefundRequested
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined

__all__ = ["events"]

events = EventRouter()


@events.on(StockReserved)
def authorize_or_decline(
    reserved: StockReserved, tx: Transaction, settings: PaymentsSettings
) -> None:
    """Authorize or decline the order's payment, once."""
    total = reserved.total
    _check_payable(reserved.order_id, total)
    authorized = domain.is_authorized(total.amount, settings.payment_limit)
    status = PaymentStatus.AUTHORIZED if authorized else PaymentStatus.DECLINED
    payment = Payment(reserved.order_id, uuid7(), status, total.amount, total.currency)
    if tables.add_payment(tx.session, payment):
        _publish_decision(tx, payment, settings.payment_limit)
        return
    existing = tables.lock_payment(tx.session, reserved.order_id)
    if existing.status is PaymentStatus.REFUND_DUE:
        payment = replace(payment, payment_id=existing.payment_id)
        tables.update_payment(tx.session, payment)
        _publish_decision(tx, payment, settings.payment_limit)
        _refund_if_authorized(tx, payment.order_id)


@events.on(PaymentRefundRequested)
def refund(request: PaymentRefundRequested, tx: Transaction) -> None:
    """Refund the order's authorized payment, once; if there is none yet, when it is authorized."""
    _check_payable(request.order_id, request.amount)
    currency = request.amount.currency
    due = Payment(request.order_id, uuid7(), PaymentStatus.REFUND_DUE, 0, currency)
    if not tables.add_payment(tx.session, due):
        _refund_if_authorized(tx, request.order_id)


def _check_payable(order_id: str, total: Money) -> None:
    """Raise Reject if order id, amount or currency is invalid."""
    if not domain.is_payable(order_id, total.amount, total.currency):
        raise Reject(f"{total.amount} {total.currency[:64]!r} for {order_id[:64]!r} cannot be paid")


def _refund_if_authorized(tx: Transaction, order_id: str) -> None:
    if tables.refund(tx.session, order_id):
        tx.publish(payment_refunded(tables.lock_payment(tx.session, order_id)))


def _publish_decision(tx: Transaction, payment: Payment, limit: int) -> None:
    """Publish whether the payment was authorized or declined, and count it."""
    decision: PaymentAuthorized | PaymentDeclined
    if payment.status is PaymentStatus.AUTHORIZED:
        decision = payment_authorized(payment)
    else:
        decision = payment_declined(payment, f"{payment.amount} is over the limit of {limit}")
    tx.publish(decision)
    metrics.count_decision(tx, decision)
