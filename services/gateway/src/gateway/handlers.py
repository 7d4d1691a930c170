"""News of orders, heard by every replica: it wakes the event streams that wait for them."""

from chassis import EventRouter
from gateway.wakeups import wakeups
from shop.inventory.v1 import StockRejected, StockReserved
from shop.orders.v1 import OrderCancelled, OrderConfirmed
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined

__all__ = ["events"]

events = EventRouter()


@events.broadcast(StockReserved)
async def stock_reserved(news: StockReserved) -> None:
    wakeups.wake(news.order_id)


@events.broadcast(StockRejected)
async def stock_rejected(news: StockRejected) -> None:
    wakeups.wake(news.order_id)


@events.broadcast(PaymentAuthorized)
async def payment_authorized(news: PaymentAuthorized) -> None:
    wakeups.wake(news.order_id)


@events.broadcast(PaymentDeclined)
async def payment_declined(news: PaymentDeclined) -> None:
    wakeups.wake(news.order_id)


@events.broadcast(OrderConfirmed)
async def order_confirmed(news: OrderConfirmed) -> None:
    wakeups.wake(news.order_id)


@events.broadcast(OrderCancelled)
async def order_cancelled(news: OrderCancelled) -> None:
    wakeups.wake(news.order_id)
