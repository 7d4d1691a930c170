"""Orders and products in the REST API, in the shapes that scripts rely on."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from storefront import Storefront, paused

pytestmark = pytest.mark.xdist_group("shop")

_RFC_3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Return the problem of an answer with this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = answer.json()
    assert content["status"] == status
    assert content["title"]
    return content


def fields(answer: httpx.Response) -> list[str]:
    """Return the fields of the request that a 422 names."""
    return [error["field"] for error in problem(answer, 422)["errors"]]


async def pages_of(
    shop: Storefront, path: str, **parameters: str
) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield the items of each page by following the cursors."""
    while True:
        answer = await shop.rest.get(path, params=parameters)
        assert answer.status_code == 200
        assert set(answer.json()) == {"items", "next_cursor"}
        yield answer.json()["items"]
        if answer.json()["next_cursor"] is None:
            return
        parameters["cursor"] = answer.json()["next_cursor"]


def parse_time(text: str) -> datetime:
    assert _RFC_3339_UTC.fullmatch(text), text
    return datetime.fromisoformat(text)


async def test_an_order_is_accepted_at_once_and_confirmed_later(shop: Storefront) -> None:
    milk = await shop.product(price=250, stock=10)
    bread = await shop.product(price=199, stock=5)
    before = datetime.now(UTC)

    answer = await shop.rest.post(
        "/orders",
        json={
            "customer_id": shop.customer,
            "lines": [{"sku": milk, "quantity": 2}, {"sku": bread, "quantity": 1}],
        },
    )

    assert answer.status_code == 202
    order_id = answer.json()["order_id"]
    assert UUID(order_id).version == 7
    assert answer.headers["location"] == f"/orders/{order_id}"
    assert answer.json() == {
        "order_id": order_id,
        "status": "pending",
        "total": {"amount": 699, "currency": "USD"},
    }
    order = await shop.wait_ended(order_id)
    placed_at, ended_at = parse_time(order.pop("placed_at")), parse_time(order.pop("ended_at"))
    assert before - timedelta(seconds=1) < placed_at < ended_at
    assert order == {
        "order_id": order_id,
        "customer_id": shop.customer,
        "status": "confirmed",
        "reason": None,
        "lines": [
            {"sku": milk, "quantity": 2, "price": {"amount": 250, "currency": "USD"}},
            {"sku": bread, "quantity": 1, "price": {"amount": 199, "currency": "USD"}},
        ],
        "total": {"amount": 699, "currency": "USD"},
    }
    assert (await shop.stock(milk), await shop.stock(bread)) == (8, 4)


async def test_a_pending_order_has_no_reason_and_no_end(shop: Storefront) -> None:
    with paused(shop.platform.of("payments")[0]):
        order = await shop.get_order(await shop.place(await shop.product()))

    assert set(order) == {
        "order_id",
        "customer_id",
        "status",
        "reason",
        "lines",
        "total",
        "placed_at",
        "ended_at",
    }
    assert (order["status"], order["reason"], order["ended_at"]) == ("pending", None, None)


async def test_an_order_for_more_than_the_stock_is_cancelled_and_reserves_nothing(
    shop: Storefront,
) -> None:
    scarce = await shop.product(stock=2)
    plenty = await shop.product(stock=10)
    answer = await shop.rest.post(
        "/orders",
        json={
            "customer_id": shop.customer,
            "lines": [{"sku": plenty, "quantity": 1}, {"sku": scarce, "quantity": 3}],
        },
    )

    order = await shop.wait_ended(answer.json()["order_id"])

    assert (order["status"], order["reason"]) == ("cancelled", "out_of_stock")
    assert (await shop.stock(plenty), await shop.stock(scarce)) == (10, 2)


async def test_the_last_piece_is_sold_once(shop: Storefront) -> None:
    last = await shop.product(stock=1)
    orders = [await shop.place(last) for _ in range(3)]

    ends = [await shop.wait_ended(order_id) for order_id in orders]

    assert sorted(end["status"] for end in ends) == ["cancelled", "cancelled", "confirmed"]
    assert {end["reason"] for end in ends} == {None, "out_of_stock"}
    assert await shop.stock(last) == 0


async def test_an_order_over_the_payment_limit_is_declined_and_its_stock_released(
    shop: Storefront,
) -> None:
    at_the_limit = await shop.product(price=15_000, stock=3)
    over_it = await shop.product(price=15_001, stock=3)

    confirmed = await shop.wait_ended(await shop.place(at_the_limit))
    declined = await shop.wait_ended(await shop.place(over_it))

    assert confirmed["status"] == "confirmed"
    assert (declined["status"], declined["reason"]) == ("cancelled", "payment_declined")
    assert await shop.stock(at_the_limit) == 2
    await shop.wait_for_stock(over_it, 3)


async def test_a_customers_orders_are_listed_newest_first_page_by_page(shop: Storefront) -> None:
    sku = await shop.product()
    placed = [await shop.place(sku) for _ in range(5)]

    pages: list[list[str]] = []
    async for page in pages_of(shop, "/orders", customer_id=shop.customer, limit="2"):
        pages.append([order["order_id"] for order in page])

    newest_first = placed[::-1]
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    (shown,) = (
        await shop.rest.get("/orders", params={"customer_id": shop.customer, "limit": 1})
    ).json()["items"]
    assert shown["order_id"] == newest_first[0]
    assert set(shown) == set(await shop.get_order(newest_first[0]))


async def test_a_customer_without_orders_has_an_empty_page(shop: Storefront) -> None:
    answer = await shop.rest.get("/orders", params={"customer_id": shop.customer})

    assert answer.json() == {"items": [], "next_cursor": None}


async def test_products_are_listed_by_sku_page_by_page(shop: Storefront) -> None:
    mine = sorted([await shop.product(price=n, stock=n) for n in range(1, 4)])

    found = [product async for page in pages_of(shop, "/products", limit="100") for product in page]

    skus = [product["sku"] for product in found]
    assert skus == sorted(set(skus))
    assert [sku for sku in skus if sku in mine] == mine
    shown = next(product for product in found if product["sku"] == mine[0])
    assert shown == (await shop.rest.get(f"/products/{mine[0]}")).json()
    assert shown == {
        "sku": mine[0],
        "name": "Milk",
        "department": "GROCERY",
        "price": {"amount": shown["stock"], "currency": "USD"},
        "stock": shown["price"]["amount"],
    }


@pytest.mark.parametrize(
    "path",
    [
        "/orders/unknown",
        "/orders/%00",
        "/orders/unknown/events",
        "/products/unknown",
        "/no",
        "/orders/",
    ],
)
async def test_an_unknown_path_is_a_problem_404(shop: Storefront, path: str) -> None:
    problem(await shop.rest.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/orders"), ("PUT", "/orders/x"), ("POST", "/products")]
)
async def test_an_unsupported_method_is_a_problem_405(
    shop: Storefront, method: str, path: str
) -> None:
    answer = await shop.rest.request(method, path)
    problem(answer, 405)
    assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"customer_id": None}, "customer_id"),
        ({"customer_id": "a b"}, "customer_id"),
        ({"lines": []}, "lines"),
        ({"lines": [{"sku": "SKU", "quantity": 0}]}, "lines.0.quantity"),
        ({"lines": [{"sku": "SKU", "quantity": 1001}]}, "lines.0.quantity"),
        ({"lines": [{"sku": "SKU", "quantity": "1"}]}, "lines.0.quantity"),
        ({"lines": [{"sku": "SKU"}]}, "lines.0.quantity"),
        ({"lines": [{"sku": "SKU", "quantity": 1}, {"sku": "no", "quantity": 1}]}, "lines.1.sku"),
        (
            {"lines": [{"sku": "SKU", "quantity": 600}, {"sku": "SKU", "quantity": 600}]},
            "lines.1.quantity",
        ),
        ({"discount": 5}, "discount"),
    ],
)
async def test_an_invalid_order_is_a_problem_422_that_names_the_field(
    shop: Storefront, change: dict[str, Any], field: str
) -> None:
    sku = await shop.product()
    body = shop.body(sku) | change
    for line in body["lines"]:
        line["sku"] = line["sku"].replace("SKU", sku)

    assert field in fields(await shop.rest.post("/orders", json=body))

    page = await shop.rest.get("/orders", params={"customer_id": shop.customer})
    assert page.json()["items"] == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"\xff"'])
async def test_a_body_that_is_not_an_order_is_a_problem_422(
    shop: Storefront, content: bytes
) -> None:
    answer = await shop.rest.post(
        "/orders", content=content, headers={"content-type": "application/json"}
    )
    assert fields(answer) == ["body"]


@pytest.mark.parametrize("path", ["/orders", "/products"])
@pytest.mark.parametrize(
    ("parameter", "value"),
    [("cursor", "nonsense"), ("cursor", "ZXZpbA=="), ("limit", "0"), ("limit", "101")],
)
async def test_an_invalid_page_is_a_problem_422_that_names_the_parameter(
    shop: Storefront, path: str, parameter: str, value: str
) -> None:
    assert fields(await shop.rest.get(path, params={parameter: value})) == [parameter]


async def test_a_body_with_another_content_type_is_a_problem_415(shop: Storefront) -> None:
    answer = await shop.rest.post("/orders", content=b"{}", headers={"content-type": "text/plain"})
    assert "Content-Type" in problem(answer, 415)["detail"]


async def test_a_body_over_one_mebibyte_is_a_problem_413(shop: Storefront) -> None:
    limit = 1024 * 1024
    headers = {"content-type": "application/json"}

    async def chunks() -> Any:
        for _ in range(limit // 65536 + 1):
            yield b" " * 65536

    at_the_limit = await shop.rest.post("/orders", content=b" " * limit, headers=headers)
    announced = await shop.rest.post("/orders", content=b" " * (limit + 1), headers=headers)
    chunked = await shop.rest.post("/orders", content=chunks(), headers=headers)

    problem(at_the_limit, 422)
    problem(announced, 413)
    problem(chunked, 413)


async def test_the_api_has_its_documentation(shop: Storefront) -> None:
    docs = await shop.rest.get("/docs")
    document = (await shop.rest.get("/openapi.json")).json()

    assert docs.status_code == 200
    assert docs.headers["content-type"].startswith("text/html")
    assert "openapi.json" in docs.text  # Relative, so that it works below any prefix.
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/orders",
        "/orders/{order_id}",
        "/orders/{order_id}/events",
        "/products",
        "/products/{sku}",
    }


@pytest.mark.parametrize("service", ["orders", "inventory", "payments"])
async def test_a_service_without_routes_has_no_documentation(
    shop: Storefront, service: str
) -> None:
    url = shop.platform.url(service)
    assert (await shop.rest.get(f"{url}/docs")).status_code == 404
    assert (await shop.rest.get(f"{url}/openapi.json")).status_code == 404
