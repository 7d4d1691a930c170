"""The composition root of orders."""

from chassis import Service, Transaction
from orders import handlers, saga, tables
from orders.rpc import Orders
from orders.settings import OrdersSettings
from orders.shadow import shadow
from shop.orders.v1 import (
    OrderCancelled,
    OrderConfirmed,
    OrderPlaced,
    OrdersService,
    PaymentRefundRequested,
)

__all__ = ["service"]

service = Service(
    "orders",
    settings=OrdersSettings,
    events=[handlers.events],
    grpc=[(OrdersService, Orders)],
    publishes=[OrderPlaced, OrderConfirmed, OrderCancelled, PaymentRefundRequested],
    tables=tables.metadata,
    migrations="orders.migrations",
    shadow=shadow,
)


@service.every(seconds=lambda settings: min(5, settings.order_timeout_seconds / 4))
def cancel_overdue(tx: Transaction, settings: OrdersSettings) -> None:
    saga.cancel_overdue(tx, settings.order_timeout_seconds)
