"""Loads the catalog into inventory. Called again it changes no stock."""

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

__all__ = ["SAMPLE", "load_products", "seed"]

SAMPLE = 5000
"""Of how many baskets the products are loaded into a shop that nothing is replayed at."""

_AT_ONCE = 1000
_SECONDS = 30.0


async def seed(platform: "Platform") -> None:
    """What `slipway run` calls on an empty data folder: the sample's products, with their stock.

    Raises DevkitError if no inventory is run here.
    """
    inventories = platform.of("inventory")
    if not inventories:
        raise DevkitError("inventory is not run here")
    selection = await asyncio.to_thread(catalogs.from_sample, SAMPLE)
    await load_products(inventories[0].grpc_address, selection.catalog)


async def load_products(
    inventory: str, catalog: Catalog, authority: str | None = None, seconds: float = _SECONDS
) -> int:
    """Load the catalog into the inventory at this gRPC address; returns how many were new.

    `authority` is host and port as a proxy on the way knows them. `seconds` is the time limit for
    each thousand products. Raises grpc.aio.AioRpcError if inventory does not answer.
    """
    loaded = 0
    async with open_channel(inventory, authority) as channel:
        stub: InventoryServiceAsyncStub = InventoryServiceStub(channel)
        products = iter(catalog.products.values())
        while chunk := list(islice(products, _AT_ONCE)):
            request = LoadProductsRequest(products=_messages(chunk, catalog))
            answer = await stub.LoadProducts(request, timeout=seconds, wait_for_ready=True)
            loaded += answer.loaded
    return loaded


def _messages(products: Sequence[Product], catalog: Catalog) -> list[ProductMessage]:
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
