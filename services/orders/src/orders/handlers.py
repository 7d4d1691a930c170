"""What orders does when it hears from inventory and payments."""

from collections.abc import Sequence

from chassis import EventContext, EventRouter, Transaction
from orders.domain import News
from orders.progress import Heard, hear
from shop.inventory.v1 import StockRejected, StockReserved
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined, PaymentRefunded

__all__ = ["events"]

events = EventRouter()

Told = StockReserved | StockRejected | PaymentDeclined | PaymentRefunded
Contexts = Sequence[EventContext]


@events.on_batch(StockReserved)
def note_reservations(told: Sequence[StockReserved], contexts: Contexts, tx: Transaction) -> None:
    hear(tx, _heard(News.STOCK_RESERVED, told, contexts))


@events.on_batch(StockRejected)
def cancel_out_of_stock(told: Sequence[StockRejected], contexts: Contexts, tx: Transaction) -> None:
    hear(tx, _heard(News.STOCK_REJECTED, told, contexts))


@events.on_batch(PaymentAuthorized)
def confirm_or_refund(
    told: Sequence[PaymentAuthorized], contexts: Contexts, tx: Transaction
) -> None:
    heard = [
        Heard(payment.order_id, News.PAYMENT_AUTHORIZED, event, payment, paid=payment.amount)
        for payment, event in zip(told, contexts, strict=True)
    ]
    hear(tx, heard)


@events.on_batch(PaymentDeclined)
def cancel_unpaid(told: Sequence[PaymentDeclined], contexts: Contexts, tx: Transaction) -> None:
    hear(tx, _heard(News.PAYMENT_DECLINED, told, contexts))


@events.on_batch(PaymentRefunded)
def note_refunds(told: Sequence[PaymentRefunded], contexts: Contexts, tx: Transaction) -> None:
    hear(tx, _heard(News.PAYMENT_REFUNDED, told, contexts))


def _heard(news: News, told: Sequence[Told], contexts: Contexts) -> list[Heard]:
    return [
        Heard(message.order_id, news, event, message)
        for message, event in zip(told, contexts, strict=True)
    ]
