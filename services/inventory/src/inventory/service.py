"""The composition root of inventory."""

from chassis import Service
from inventory import handlers, tables
from inventory.rpc import Inventory
from inventory.settings import InventorySettings
from inventory.shadow import shadow
from shop.inventory.v1 import InventoryService, StockRejected, StockReserved

__all__ = ["service"]

service = Service(
    "inventory",
    settings=InventorySettings,
    events=[handlers.events],
    grpc=[(InventoryService, Inventory)],
    publishes=[StockReserved, StockRejected],
    tables=tables.metadata,
    migrations="inventory.migrations",
    shadow=shadow,
)
