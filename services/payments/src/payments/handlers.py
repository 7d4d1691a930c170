"""What payments does when an order's stock is reserved, and when its money has to go back."""

from dataclasses import replace

from chassis import EventRouter, Reject, Transaction
from chassis.events import uuid7
from payments import domain, tables
from payments.domain import PaymentStatus
from payments.settings import PaymentsSettings
from payments.tables import Payment
from shop.inventory.v1 import StockReserved
from shop.money.v1 import Money
from shop.orders.v1 import PaymentRefundRequested
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined, PaymentRefunded

__all__ = ["events"]

events = EventRouter()


@events.on(StockReserved)
def decide(reserved: StockReserved, tx: Transaction, settings: PaymentsSettings) -> None:
    """Authorize or decline the order's payment, once."""
    total = reserved.total
    _check(reserved.order_id, total)
    authorized = domain.authorizes(total.amount, settings.payment_limit)
    status = PaymentStatus.AUTHORIZED if authorized else PaymentStatus.DECLINED
    payment = Payment(reserved.order_id, uuid7(), status, total.amount, total.currency)
    if tables.add_payment(tx.session, payment):
        _publish_decision(tx, payment, settings.payment_limit)
        return
    due = tables.lock_payment(tx.session, reserved.order_id)
    if due.status is PaymentStatus.REFUND_DUE:
        payment = replace(payment, payment_id=due.payment_id)
        tables.decide_due(tx.session, payment)
        _publish_decision(tx, payment, settings.payment_limit)
        _refund(tx, payment.order_id)


@events.on(PaymentRefundRequested)
def refund(request: PaymentRefundRequested, tx: Transaction) -> None:
    """Give an authorized payment back, once."""
    _check(request.order_id, request.amount)
    currency = request.amount.currency
    due = Payment(request.order_id, uuid7(), PaymentStatus.REFUND_DUE, 0, currency)
    if not tables.add_payment(tx.session, due):
        _refund(tx, request.order_id)


def _check(order_id: str, total: Money) -> None:
    """Raises Reject where no payment of that amount can be for an order of that id."""
    if not domain.is_payable(order_id, total.amount, total.currency):
        raise Reject(f"{total.amount} {total.currency[:64]!r} for {order_id[:64]!r} cannot be paid")


def _refund(tx: Transaction, order_id: str) -> None:
    if tables.refund(tx.session, order_id):
        payment = tables.lock_payment(tx.session, order_id)
        tx.publish(
            PaymentRefunded(
                order_id=order_id,
                payment_id=payment.payment_id,
                amount=Money(amount=payment.amount, currency=payment.currency),
            )
        )


def _publish_decision(tx: Transaction, payment: Payment, limit: int) -> None:
    if payment.status is PaymentStatus.AUTHORIZED:
        tx.publish(
            PaymentAuthorized(
                order_id=payment.order_id,
                payment_id=payment.payment_id,
                amount=Money(amount=payment.amount, currency=payment.currency),
            )
        )
    else:
        reason = f"{payment.amount} is over the limit of {limit}"
        tx.publish(PaymentDeclined(order_id=payment.order_id, reason=reason))
