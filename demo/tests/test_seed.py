"""Loading the catalog into inventory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from typer.testing import CliRunner

from demo import load_command
from demo.catalog import Catalog, from_sample
from demo.data import Product
from demo.seed import SAMPLE_BASKETS, load_products, seed
from devkit.errors import DevkitError
from devkit.platform import Platform, PlatformOptions
from localservers import free_port
from shop.inventory.v1 import LoadProductsRequest, LoadProductsResponse


class Inventory(grpc.GenericRpcHandler):
    """A fake of InventoryService that loads products and counts the new ones."""

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


@asynccontextmanager
async def serving(inventory: Inventory) -> AsyncIterator[int]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((inventory,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def test_every_product_is_loaded_with_its_price_and_stock_in_calls_of_1000() -> None:
    products = {
        str(number): Product(str(number), f"Product {number}", "Grocery", number + 1)
        for number in range(2300)
    }
    catalog = Catalog(products, {sku: int(sku) * 2 for sku in products})
    inventory = Inventory()
    async with serving(inventory) as port:
        assert await load_products(f"127.0.0.1:{port}", catalog) == 2300
        assert await load_products(f"127.0.0.1:{port}", catalog) == 0
    assert [len(request.products) for request in inventory.requests] == [1000, 1000, 300] * 2
    assert inventory.stock == catalog.stock
    first = inventory.requests[0].products[7]
    assert (first.sku, first.name, first.department) == ("7", "Product 7", "Grocery")
    assert (first.price.amount, first.price.currency) == (8, "USD")


async def test_a_platform_without_inventory_is_an_error(tmp_path: Path) -> None:
    platform = Platform(PlatformOptions(data=tmp_path))
    with pytest.raises(DevkitError, match="this platform runs no inventory"):
        await seed(platform)


async def test_slipway_load_loads_the_products_of_slipway_run() -> None:
    inventory = Inventory()
    count = f"{len(from_sample(SAMPLE_BASKETS).catalog.products):,}"
    async with serving(inventory) as port:
        first, again = [await load(f"inventory=127.0.0.1:{port}") for _ in range(2)]

    assert first == (0, f"loaded {count} products; 0 existed and keep their stock\n")
    assert again == (0, f"loaded 0 products; {count} existed and keep their stock\n")
    # The README's first order is for this product.
    assert "995242" in inventory.stock


async def test_a_shop_that_does_not_answer_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DevkitError, match=r"DEADLINE_EXCEEDED.*--at inventory=host:port"):
        await load(f"inventory=127.0.0.1:{free_port()}", "--wait", "0.1")


@pytest.mark.parametrize("at", ["localhost:9082", "orders=localhost:9081", "inventory=http://a:1"])
async def test_an_address_that_is_not_inventorys_grpc_is_refused(at: str) -> None:
    with pytest.raises(DevkitError, match="write --at inventory=host:port"):
        await load(at)


async def load(at: str, *options: str) -> tuple[int, str]:
    command = ["--at", at, *options]
    result = await asyncio.to_thread(
        CliRunner().invoke, load_command.app, command, catch_exceptions=False
    )
    return result.exit_code, result.output
