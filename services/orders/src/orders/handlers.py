"""The events of inventory and payments, which trigger the transitions of an order.

The handlers get the events one by one, so that each transition belongs to its order's trace.
"""

from chassis import EventContext, EventRouter, Transaction
from orders.domain import Trigger
from orders.saga import Received, receive
from shop.inventory.v1 import StockRejected, StockReserved
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined, PaymentRefunded

__all__ = ["events"]

events = EventRouter()


@events.on(StockReserved)
def note_reservation(message: StockReserved, tx: Transaction, event: EventContext) -> None:
    receive(tx, Received(message.order_id, Trigger.STOCK_RESERVED, event, message))


@events.on(StockRejected)
def cancel_out_of_stock(message: StockRejected, tx: Transaction, event: EventContext) -> None:
    receive(tx, Received(message.order_id, Trigger.STOCK_REJECTED, event, message))


@events.on(PaymentAuthorized)
def confirm_or_refund(message: PaymentAuthorized, tx: Transaction, event: EventContext) -> None:
    paid = message.amount
    receive(tx, Received(message.order_id, Trigger.PAYMENT_AUTHORIZED, event, message, paid))


@events.on(PaymentDeclined)
def cancel_declined(message: PaymentDeclined, tx: Transaction, event: EventContext) -> None:
    receive(tx, Received(message.order_id, Trigger.PAYMENT_DECLINED, event, message))


@events.on(PaymentRefunded)
def note_refund(message: PaymentRefunded, tx: Transaction, event: EventContext) -> None:
    receive(tx, Received(message.order_id, Trigger.PAYMENT_REFUNDED, event, message))
