"""The catalog is loaded in pieces that inventory takes."""

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from demo.catalog import Catalog
from demo.data import Product
from demo.seed import load_products, seed
from devkit.errors import DevkitError
from devkit.platform import Platform, PlatformOptions
from shop.inventory.v1 import LoadProductsRequest, LoadProductsResponse


class Inventory(grpc.GenericRpcHandler):
    """Takes products and counts those that are new, like the real one."""

    def __init__(self) -> None:
        self.requests: list[LoadProductsRequest] = []
        self.stock: dict[str, int] = {}

    def service(self, call: grpc.HandlerCallDetails) -> Any:
        assert str(call.method) == "/shop.inventory.v1.InventoryService/LoadProducts"
        return grpc.unary_unary_rpc_method_handler(
            self._load,
            request_deserializer=LoadProductsRequest.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    async def _load(self, request: LoadProductsRequest, context: Any) -> LoadProductsResponse:
        self.requests.append(request)
        before = len(self.stock)
        for product in request.products:
            self.stock.setdefault(product.sku, product.stock)
        return LoadProductsResponse(loaded=len(self.stock) - before)


async def test_every_product_is_loaded_with_its_price_and_stock_at_most_1000_at_once() -> None:
    products = {
        str(number): Product(str(number), f"Product {number}", "Grocery", number + 1)
        for number in range(2300)
    }
    catalog = Catalog(products, {sku: int(sku) * 2 for sku in products})
    inventory = Inventory()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((inventory,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert await load_products(f"127.0.0.1:{port}", catalog) == 2300
        assert await load_products(f"127.0.0.1:{port}", catalog) == 0
    finally:
        await server.stop(0)
    assert [len(request.products) for request in inventory.requests] == [1000, 1000, 300] * 2
    assert inventory.stock == catalog.stock
    first = inventory.requests[0].products[7]
    assert (first.sku, first.name, first.department) == ("7", "Product 7", "Grocery")
    assert (first.price.amount, first.price.currency) == (8, "USD")


async def test_without_an_inventory_it_says_that_nothing_is_loaded(tmp_path: Path) -> None:
    platform = Platform(PlatformOptions(data=tmp_path))
    with pytest.raises(DevkitError, match="inventory is not run here"):
        await seed(platform)
