"""The gRPC server of inventory, on both databases."""

from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio

from chassis import InvalidArgument, NotFound, Service
from chassis.rpc import Clients
from chassis.testing import HandlerHarness
from inventory.service import service
from shop.inventory.v1 import (
    GetProductRequest,
    InventoryService,
    InventoryServiceAsyncStub,
    LoadProductsRequest,
    Product,
    QuoteProductsRequest,
)
from shop.money.v1 import Money


@pytest_asyncio.fixture
async def inventory(
    harness: HandlerHarness, serve: Callable[[Service, HandlerHarness], Awaitable[Clients]]
) -> InventoryServiceAsyncStub:
    clients = await serve(service, harness)
    return clients.stub(InventoryService, InventoryServiceAsyncStub)


def products(count: int) -> list[Product]:
    price = Money(amount=199, currency="USD")
    return [
        Product(sku=f"p{number:04}", name="A product", department="D", price=price, stock=5)
        for number in range(count)
    ]


async def test_a_thousand_products_are_loaded_and_quoted_in_one_call(
    inventory: InventoryServiceAsyncStub,
) -> None:
    loaded = products(1000)
    assert (await inventory.LoadProducts(LoadProductsRequest(products=loaded))).loaded == 1000
    assert (await inventory.LoadProducts(LoadProductsRequest(products=loaded))).loaded == 0
    quote = QuoteProductsRequest(skus=[product.sku for product in loaded])
    assert list((await inventory.QuoteProducts(quote)).products) == loaded


async def test_an_invalid_argument_names_its_field(inventory: InventoryServiceAsyncStub) -> None:
    first, second = products(2)
    second.stock = -1
    with pytest.raises(InvalidArgument) as refused:
        await inventory.LoadProducts(LoadProductsRequest(products=[first, second]))
    assert refused.value.field == "products.1.stock"


async def test_an_unknown_product_is_not_found_by_any_name(
    inventory: InventoryServiceAsyncStub,
) -> None:
    for sku in ("p-1", "", "\x00", "p" * 10_000):
        with pytest.raises(NotFound):
            await inventory.GetProduct(GetProductRequest(sku=sku))
