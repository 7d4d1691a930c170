"""The composition root of the gateway."""

from chassis import Service
from gateway import api, handlers
from gateway.settings import GatewaySettings
from shop.inventory.v1 import InventoryService
from shop.orders.v1 import OrdersService

__all__ = ["service"]

service = Service(
    "gateway",
    settings=GatewaySettings,
    events=[handlers.events],
    http=[api.products, api.orders],
    calls=[OrdersService, InventoryService],
)
