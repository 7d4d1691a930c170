"""The REST API, from its URLs to the calls behind it."""

import asyncio
from typing import Any

import httpx
import pytest
from following import until_followed
from small_shop import Inventory, Shop

from chassis.rpc.server import RpcServer
from gateway.wakeups import wakeups

ORDER = {"customer_id": "c-1", "lines": [{"sku": "milk", "quantity": 2}]}


async def place(rest: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await rest.post("/orders", json=ORDER, headers=headers)


def fields(answer: httpx.Response) -> list[str]:
    """Return the fields of the request that a problem names."""
    assert answer.headers["content-type"] == "application/problem+json"
    return [error["field"] for error in answer.json()["errors"]]


async def test_products_are_listed_page_by_page(rest: httpx.AsyncClient) -> None:
    first = (await rest.get("/products", params={"limit": 1})).json()
    assert first["items"] == [
        {
            "sku": "bread",
            "name": "Bread",
            "department": "GROCERY",
            "price": {"amount": 199, "currency": "USD"},
            "stock": 9,
        }
    ]
    second = await rest.get("/products", params={"limit": 1, "cursor": first["next_cursor"]})
    assert [item["sku"] for item in second.json()["items"]] == ["milk"]
    assert second.json()["next_cursor"] is None


async def test_a_product_is_returned_and_an_unknown_one_is_not_found(
    rest: httpx.AsyncClient,
) -> None:
    assert (await rest.get("/products/milk")).json()["name"] == "Milk"
    missing = await rest.get("/products/tea")
    assert missing.status_code == 404
    assert missing.json()["detail"] == "there is no product 'tea'"


async def test_an_order_is_accepted_with_its_id_and_location(
    rest: httpx.AsyncClient, shop: Shop
) -> None:
    answer = await place(rest, **{"Idempotency-Key": "k-1"})
    assert answer.status_code == 202
    (placed,) = shop.placed
    assert answer.json() == {
        "order_id": placed.order_id,
        "status": "pending",
        "total": {"amount": 398, "currency": ""},
    }
    assert answer.headers["location"] == f"/orders/{placed.order_id}"
    assert placed.idempotency_key == "k-1"
    assert placed.lines[0].price.amount == 199
    assert (await rest.get(answer.headers["location"])).json()["placed_at"].endswith("Z")


async def test_links_have_the_prefix_of_the_proxy(
    rest: httpx.AsyncClient, transport: httpx.ASGITransport
) -> None:
    transport.root_path = "/shop"
    placed = await place(rest)
    assert placed.headers["location"] == f"/shop/orders/{placed.json()['order_id']}"


async def test_a_lone_surrogate_is_refused(rest: httpx.AsyncClient) -> None:
    body = rb'{"customer_id": "\ud800", "lines": [{"sku": "milk", "quantity": 2}]}'
    answer = await rest.post("/orders", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


async def test_each_order_gets_an_id_of_its_own(rest: httpx.AsyncClient, shop: Shop) -> None:
    await place(rest)
    await place(rest)
    assert shop.placed[0].order_id < shop.placed[1].order_id


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "customer_id"),
        (ORDER | {"customer_id": ""}, "customer_id"),
        (ORDER | {"lines": []}, "lines"),
        (ORDER | {"lines": [{"sku": "milk", "quantity": 0}]}, "lines.0.quantity"),
        (ORDER | {"lines": [{"sku": "milk", "quantity": 1001}]}, "lines.0.quantity"),
        (ORDER | {"lines": [{"sku": "milk", "quantity": "2"}]}, "lines.0.quantity"),
        (ORDER | {"lines": [{"sku": "milk", "quantity": 1.5}]}, "lines.0.quantity"),
        (ORDER | {"lines": [{"sku": "milk", "quantity": True}]}, "lines.0.quantity"),
        (ORDER | {"lines": [{"sku": "m\x00", "quantity": 1}]}, "lines.0.sku"),
        (ORDER | {"lines": [{"sku": "milk"}]}, "lines.0.quantity"),
        (ORDER | {"lines": [{"sku": "milk", "quantity": 1}] * 251}, "lines"),
        (ORDER | {"coupon": "x"}, "coupon"),
        (
            ORDER | {"lines": [{"sku": "milk", "quantity": 1}, {"sku": "tea", "quantity": 1}]},
            "lines.1.sku",
        ),
    ],
)
async def test_an_invalid_order_is_refused_by_its_field(
    rest: httpx.AsyncClient, shop: Shop, body: dict[str, Any], field: str
) -> None:
    answer = await rest.post("/orders", json=body)
    assert answer.status_code == 422
    assert field in fields(answer)
    assert shop.placed == []


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "taken"])
async def test_an_invalid_key_is_refused(rest: httpx.AsyncClient, key: str) -> None:
    answer = await place(rest, **{"Idempotency-Key": key})
    assert answer.status_code == 422
    assert fields(answer) == ["Idempotency-Key"]


async def test_an_order_sent_again_is_returned_while_inventory_is_unavailable(
    rest: httpx.AsyncClient, shop: Shop, servers: dict[str, RpcServer]
) -> None:
    first = await place(rest, **{"Idempotency-Key": "k-1"})
    await servers["inventory"].stop(0)
    again = await place(rest, **{"Idempotency-Key": "k-1"})
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    other = ORDER | {"lines": [{"sku": "milk", "quantity": 3}]}
    refused = await rest.post("/orders", json=other, headers={"Idempotency-Key": "k-1"})
    assert (refused.status_code, fields(refused)) == (422, ["Idempotency-Key"])
    assert (await place(rest, **{"Idempotency-Key": "k-2"})).status_code == 503
    assert (await place(rest)).status_code == 503
    assert len(shop.placed) == 1


async def test_an_order_sent_again_is_returned_when_its_product_is_no_longer_sold(
    rest: httpx.AsyncClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await place(rest, **{"Idempotency-Key": "k-1"})
    monkeypatch.setattr(Inventory, "products", ())
    again = await place(rest, **{"Idempotency-Key": "k-1"})
    assert (again.status_code, again.json()) == (202, first.json())
    refused = await place(rest, **{"Idempotency-Key": "k-2"})
    assert (refused.status_code, fields(refused)) == (422, ["lines.0.sku"])


async def test_orders_are_listed_for_a_customer(rest: httpx.AsyncClient, shop: Shop) -> None:
    await place(rest)
    page = (await rest.get("/orders", params={"customer_id": "c-1", "limit": 5})).json()
    assert [order["order_id"] for order in page["items"]] == [shop.placed[0].order_id]
    await rest.get("/orders", params={"cursor": page["next_cursor"]})
    assert [(r.customer_id, r.limit, r.cursor) for r in shop.listed] == [
        ("c-1", 5, ""),
        ("", 20, "17.o-1"),
    ]


@pytest.mark.parametrize("path", ["/products", "/orders"])
@pytest.mark.parametrize(
    ("parameter", "value"), [("limit", "0"), ("limit", "101"), ("limit", "x"), ("cursor", "%")]
)
async def test_an_invalid_page_is_refused_by_its_parameter(
    rest: httpx.AsyncClient, path: str, parameter: str, value: str
) -> None:
    answer = await rest.get(path, params={parameter: value})
    assert answer.status_code == 422
    assert fields(answer) == [parameter]


@pytest.mark.parametrize("path", ["/orders/o-9", "/orders/o-9/events"])
async def test_an_unknown_order_is_not_found(rest: httpx.AsyncClient, path: str) -> None:
    answer = await rest.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_orders_events_are_streamed_up_to_its_end(
    rest: httpx.AsyncClient, shop: Shop
) -> None:
    path = f"{(await place(rest)).headers['location']}/events"
    shop.add_event("Placed")
    shop.add_event("Reserved")

    async def end_the_order_later() -> None:
        await until_followed(wakeups, shop.placed[0].order_id)
        shop.add_event("Confirmed", terminal=True)
        shop.add_event("Refunded")

    later = asyncio.create_task(end_the_order_later())
    answer = await rest.get(path)
    await later
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == (
        'id: 1\nevent: Placed\ndata: {"type":"Placed"}\n\n'
        'id: 2\nevent: Reserved\ndata: {"type":"Reserved"}\n\n'
        'id: 3\nevent: Confirmed\ndata: {"type":"Confirmed"}\n\n'
    )
    resumed = await rest.get(path, headers={"Last-Event-ID": "2"})
    assert resumed.text == 'id: 3\nevent: Confirmed\ndata: {"type":"Confirmed"}\n\n'


async def test_an_empty_last_event_id_is_none(rest: httpx.AsyncClient, shop: Shop) -> None:
    path = f"{(await place(rest)).headers['location']}/events"
    shop.add_event("Placed", terminal=True)
    answer = await rest.get(path, headers={"Last-Event-ID": ""})
    assert answer.text == 'id: 1\nevent: Placed\ndata: {"type":"Placed"}\n\n'


async def test_a_client_that_has_received_the_last_event_is_told_not_to_reconnect(
    rest: httpx.AsyncClient, shop: Shop
) -> None:
    path = f"{(await place(rest)).headers['location']}/events"
    shop.add_event("Placed", terminal=True)
    answer = await rest.get(path, headers={"Last-Event-ID": "1"})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("seen", ["-1", "x", "99999999999"])
async def test_an_invalid_last_event_id_is_refused(
    rest: httpx.AsyncClient, shop: Shop, seen: str
) -> None:
    path = f"{(await place(rest)).headers['location']}/events"
    answer = await rest.get(path, headers={"Last-Event-ID": seen})
    assert answer.status_code == 422
    assert fields(answer) == ["Last-Event-ID"]


async def test_orders_are_available_while_inventory_is_not(
    rest: httpx.AsyncClient, servers: dict[str, RpcServer]
) -> None:
    location = (await place(rest)).headers["location"]
    await servers["inventory"].stop(0)
    answer = await rest.get("/products")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert (await rest.get(location)).status_code == 200


async def test_the_openapi_document_lists_the_statuses_of_each_route(
    rest: httpx.AsyncClient,
) -> None:
    document = (await rest.get("/openapi.json")).json()
    assert {
        (path, method): sorted(operation["responses"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    } == {
        ("/products", "get"): ["200", "422", "503", "504"],
        ("/products/{sku}", "get"): ["200", "404", "422", "503", "504"],
        ("/orders", "post"): ["202", "413", "415", "422", "503", "504"],
        ("/orders", "get"): ["200", "422", "503", "504"],
        ("/orders/{order_id}", "get"): ["200", "404", "422", "503", "504"],
        ("/orders/{order_id}/events", "get"): ["200", "204", "404", "422", "503", "504"],
    }
