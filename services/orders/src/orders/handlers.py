"""What orders does when it hears from inventory and payments.

One by one, so that each step belongs to its order's trace.
"""

from chassis import EventContext, EventRouter, Transaction
from orders.domain import News
from orders.progress import Heard, hear
from shop.inventory.v1 import StockRejected, StockReserved
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined, PaymentRefunded

__all__ = ["events"]

events = EventRouter()


@events.on(StockReserved)
def note_reservation(news: StockReserved, tx: Transaction, event: EventContext) -> None:
    hear(tx, [Heard(news.order_id, News.STOCK_RESERVED, event, news)])


@events.on(StockRejected)
def cancel_out_of_stock(news: StockRejected, tx: Transaction, event: EventContext) -> None:
    hear(tx, [Heard(news.order_id, News.STOCK_REJECTED, event, news)])


@events.on(PaymentAuthorized)
def confirm_or_refund(news: PaymentAuthorized, tx: Transaction, event: EventContext) -> None:
    hear(tx, [Heard(news.order_id, News.PAYMENT_AUTHORIZED, event, news, paid=news.amount)])


@events.on(PaymentDeclined)
def cancel_unpaid(news: PaymentDeclined, tx: Transaction, event: EventContext) -> None:
    hear(tx, [Heard(news.order_id, News.PAYMENT_DECLINED, event, news)])


@events.on(PaymentRefunded)
def note_refund(news: PaymentRefunded, tx: Transaction, event: EventContext) -> None:
    hear(tx, [Heard(news.order_id, News.PAYMENT_REFUNDED, event, news)])
