"""The RPCs of inventory, on both databases."""

from typing import Any

import pytest

from chassis import InvalidArgument, NotFound
from chassis.testing import HandlerHarness
from inventory.rpc import Inventory
from shop.inventory.v1 import (
    GetProductRequest,
    GetStockLedgerRequest,
    ListProductsRequest,
    LoadProductsRequest,
    Product,
    QuoteProductsRequest,
)
from shop.money.v1 import Money

pytestmark = [pytest.mark.dialect, pytest.mark.unit]


def product(sku: str, **changes: Any) -> Product:
    given: dict[str, Any] = {
        "sku": sku,
        "name": sku.title(),
        "department": "GROCERY",
        "price": Money(amount=199, currency="USD"),
        "stock": 10,
    }
    return Product(**given | changes)


def load(harness: HandlerHarness, *products: Product) -> int:
    request = LoadProductsRequest(products=products)
    return harness.transact(lambda tx: Inventory().load_products(request, tx)).loaded


def get(harness: HandlerHarness, sku: str) -> Product:
    request = GetProductRequest(sku=sku)
    return harness.transact(lambda tx: Inventory().get_product(request, tx)).product


def quoted(harness: HandlerHarness, *skus: str) -> list[str]:
    request = QuoteProductsRequest(skus=skus)
    answer = harness.transact(lambda tx: Inventory().quote_products(request, tx))
    return [found.sku for found in answer.products]


def test_a_loaded_product_is_shown(harness: HandlerHarness) -> None:
    assert load(harness, product("milk"), product("bread")) == 2
    assert get(harness, "milk") == product("milk")


def test_loading_a_product_again_updates_its_description_and_keeps_its_stock(
    harness: HandlerHarness,
) -> None:
    load(harness, product("milk"))
    changed = {"name": "Oat milk", "price": Money(amount=299, currency="USD"), "department": "D"}
    assert load(harness, product("milk", stock=99, **changed), product("bread")) == 1
    assert get(harness, "milk") == product("milk", stock=10, **changed)


def test_loading_nothing_changes_nothing(harness: HandlerHarness) -> None:
    assert load(harness) == 0


def test_a_product_loaded_twice_in_one_call_exists_once(harness: HandlerHarness) -> None:
    assert load(harness, product("milk", name="First"), product("milk", name="Last")) == 1
    assert get(harness, "milk").name == "Last"


def test_a_malformed_product_is_named_and_nothing_is_loaded(harness: HandlerHarness) -> None:
    with pytest.raises(InvalidArgument) as refused:
        load(harness, product("milk"), product("bread", stock=-1))
    assert refused.value.field == "products.1.stock"
    with pytest.raises(NotFound):
        get(harness, "milk")


def test_more_than_a_thousand_products_in_one_call_are_refused(harness: HandlerHarness) -> None:
    with pytest.raises(InvalidArgument):
        load(harness, *(product(f"p{number}") for number in range(1001)))
    with pytest.raises(InvalidArgument):
        quoted(harness, *(["milk"] * 1001))


@pytest.mark.parametrize("sku", ["tea", "", "\x00", "s" * 10_000])
def test_an_unknown_product_is_not_found(harness: HandlerHarness, sku: str) -> None:
    load(harness, product("milk"))
    with pytest.raises(NotFound) as missing:
        get(harness, sku)
    assert len(missing.value.detail) < 200


def test_a_quote_omits_unknown_products(harness: HandlerHarness) -> None:
    load(harness, product("milk"), product("bread"))
    assert quoted(harness, "milk", "tea", "milk", "\x00", "bread") == ["bread", "milk"]


def test_products_are_listed_by_sku_and_page_by_page(harness: HandlerHarness) -> None:
    load(harness, *(product(sku) for sku in "edcba"))
    pages = []
    request = ListProductsRequest(limit=2)
    while True:
        page = harness.transact(lambda tx: Inventory().list_products(request, tx))
        pages.append([found.sku for found in page.products])
        if not page.next_cursor:
            break
        request.cursor = page.next_cursor
    assert pages == [["a", "b"], ["c", "d"], ["e"]]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": 10_000}, "limit"),
        ({"cursor": "\x00"}, "cursor"),
    ],
)
def test_an_invalid_request_for_a_list_is_refused_by_its_field(
    harness: HandlerHarness, arguments: dict[str, Any], field: str
) -> None:
    products, stock = ListProductsRequest(**arguments), GetStockLedgerRequest(**arguments)
    with pytest.raises(InvalidArgument) as refused:
        harness.transact(lambda tx: Inventory().list_products(products, tx))
    assert refused.value.field == field
    with pytest.raises(InvalidArgument) as refused:
        harness.transact(lambda tx: Inventory().get_stock_ledger(stock, tx))
    assert refused.value.field == field
