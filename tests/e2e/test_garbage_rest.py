"""Arbitrary requests to the REST API get answers that its OpenAPI document describes."""

import asyncio

import pytest
from storefront import Storefront

from devkit.platform import Platform

pytestmark = [
    pytest.mark.xdist_group("shop"),
    pytest.mark.usefixtures("everything_ends"),
]

OPERATIONS = [
    ("GET", "/products", "valid"),
    ("GET", "/products", "invalid"),
    ("GET", "/products/{sku}", "valid"),
    ("POST", "/orders", "valid"),
    ("POST", "/orders", "invalid"),
    ("GET", "/orders", "valid"),
    ("GET", "/orders", "invalid"),
    ("GET", "/orders/{order_id}", "valid"),
    ("GET", "/orders/{order_id}/events", "valid"),
    ("GET", "/orders/{order_id}/events", "invalid"),
]


async def _product(platform: Platform) -> str:
    async with Storefront(platform) as shop:
        return await shop.product(stock=10**9)


@pytest.mark.parametrize(("method", "path", "kind"), OPERATIONS)
def test_every_answer_is_documented(platform: Platform, method: str, path: str, kind: str) -> None:
    from arbitrary_requests import send_arbitrary

    sku = asyncio.run(_product(platform))
    send_arbitrary(platform.url("gateway"), method, path, valid=kind == "valid", sku=sku)
