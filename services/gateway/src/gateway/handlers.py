"""The events that tell of an order: every replica wakes its event streams that follow the order."""

from chassis import EventRouter
from gateway.wakeups import wakeups
from shop.inventory.v1 import StockRejected, StockReserved
from shop.orders.v1 import OrderCancelled, OrderConfirmed
from shop.payments.v1 import PaymentAuthorized, PaymentDeclined

__all__ = ["events"]

events = EventRouter()


@events.broadcast(
    StockReserved, StockRejected, PaymentAuthorized, PaymentDeclined, OrderConfirmed, OrderCancelled
)
async def wake_streams(
    message: StockReserved
    | StockRejected
    | PaymentAuthorized
    | PaymentDeclined
    | OrderConfirmed
    | OrderCancelled,
) -> None:
    wakeups.wake(message.order_id)
