"""The seed of a shop: products of a catalog. Loading them again does not change their stock."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from demo import catalog as catalogs
from demo.catalog import CURRENCY, Catalog
from demo.channel import open_channel
from demo.data import Product
from devkit.errors import DevkitError
from shop.inventory.v1 import (
    InventoryServiceAsyncStub,
    InventoryServiceStub,
    LoadProductsRequest,
)
from shop.inventory.v1 import Product as ProductMessage
from shop.money.v1 import Money

if TYPE_CHECKING:
    from devkit.platform import Platform

__all__ = ["SAMPLE_BASKETS", "load_products", "seed"]

SAMPLE_BASKETS = 5000
"""Number of baskets whose products are loaded into a shop without a replay."""

_BATCH_SIZE = 1000
_SECONDS = 30.0


async def seed(platform: "Platform") -> None:
    """Load the sample's products, with their stock, when `slipway run` starts without data.

    Raises DevkitError if the platform runs no inventory.
    """
    inventories = platform.of("inventory")
    if not inventories:
        raise DevkitError("this platform runs no inventory; its products are not loaded")
    selection = await asyncio.to_thread(catalogs.from_sample, SAMPLE_BASKETS)
    await load_products(inventories[0].grpc_address, selection.catalog)


async def load_products(
    inventory: str, catalog: Catalog, authority: str | None = None, seconds: float = _SECONDS
) -> int:
    """Load a catalog into the inventory at a gRPC address, and return the number of new products.

    `authority` is the host name and port by which a proxy routes. `seconds` is the time limit for
    each thousand products. Raises grpc.aio.AioRpcError if inventory does not answer.
    """
    loaded = 0
    async with open_channel(inventory, authority) as channel:
        stub: InventoryServiceAsyncStub = InventoryServiceStub(channel)
        products = iter(catalog.products.values())
        while chunk := list(islice(products, _BATCH_SIZE)):
            request = LoadProductsRequest(products=_product_messages(chunk, catalog))
            answer = await stub.LoadProducts(request, timeout=seconds, wait_for_ready=True)
            loaded += answer.loaded
    return loaded


def _product_messages(products: Sequence[Product], catalog: Catalog) -> list[ProductMessage]:
    """Return the products as the inventory's RPC takes them."""
    return [
        ProductMessage(
            sku=product.sku,
            name=product.name,
            department=product.department,
            price=Money(amount=product.price_cents, currency=CURRENCY),
            stock=catalog.stock[product.sku],
        )
        for product in products
    ]
