"""The REST surface, from its URLs to the calls behind it."""

import asyncio
from typing import Any

import httpx
import pytest
from small_shop import Inventory, Shop

from chassis.rpc.server import RpcServer

ORDER = {"customer_id": "c-1", "lines": [{"sku": "milk", "quantity": 2}]}


async def place(rest: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await rest.post("/orders", json=ORDER, headers=headers)


def fields(answer: httpx.Response) -> list[str]:
    """The parts of the request that a problem names."""
    assert answer.headers["content-type"] == "application/problem+json"
    return [error["field"] for error in answer.json()["errors"]]


async def test_products_come_page_by_page(rest: httpx.AsyncClient) -> None:
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


async def test_a_product_is_shown_and_another_is_not_found(rest: httpx.AsyncClient) -> None:
    assert (await rest.get("/products/milk")).json()["name"] == "Milk"
    missing = await rest.get("/products/tea")
    assert missing.status_code == 404
    assert missing.json()["detail"] == "there is no product 'tea'"


async def test_an_order_is_taken_with_an_id_and_where_to_find_it(
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


async def test_links_have_the_prefix_that_a_proxy_publishes_them_below(
    rest: httpx.AsyncClient,
) -> None:
    assert isinstance(rest._transport, httpx.ASGITransport)
    rest._transport.root_path = "/shop"
    placed = await place(rest)
    assert placed.headers["location"] == f"/shop/orders/{placed.json()['order_id']}"


async def test_half_a_character_is_refused(rest: httpx.AsyncClient) -> None:
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
async def test_a_body_that_cannot_be_ordered_is_refused_by_its_field(
    rest: httpx.AsyncClient, shop: Shop, body: dict[str, Any], field: str
) -> None:
    answer = await rest.post("/orders", json=body)
    assert answer.status_code == 422
    assert field in fields(answer)
    assert shop.placed == []


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "taken"])
async def test_a_key_that_cannot_be_used_is_refused(rest: httpx.AsyncClient, key: str) -> None:
    answer = await place(rest, **{"Idempotency-Key": key})
    assert answer.status_code == 422
    assert fields(answer) == ["Idempotency-Key"]


async def test_an_order_sent_again_is_answered_while_inventory_is_away(
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


async def test_an_order_sent_again_is_answered_when_its_product_is_no_longer_sold(
    rest: httpx.AsyncClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await place(rest, **{"Idempotency-Key": "k-1"})
    monkeypatch.setattr(Inventory, "_products", ())
    again = await place(rest, **{"Idempotency-Key": "k-1"})
    assert (again.status_code, again.json()) == (202, first.json())
    gone = await place(rest, **{"Idempotency-Key": "k-2"})
    assert (gone.status_code, fields(gone)) == (422, ["lines.0.sku"])


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
async def test_a_page_that_cannot_be_is_refused_by_its_parameter(
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
    shop.record("Placed")
    shop.record("Reserved")

    async def go_on() -> None:
        await asyncio.sleep(0.1)
        shop.record("Confirmed", terminal=True)
        shop.record("Refunded")

    later = asyncio.create_task(go_on())
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
    shop.record("Placed", terminal=True)
    answer = await rest.get(path, headers={"Last-Event-ID": ""})
    assert answer.text == 'id: 1\nevent: Placed\ndata: {"type":"Placed"}\n\n'


async def test_who_has_seen_the_end_is_told_not_to_come_back(
    rest: httpx.AsyncClient, shop: Shop
) -> None:
    path = f"{(await place(rest)).headers['location']}/events"
    shop.record("Placed", terminal=True)
    answer = await rest.get(path, headers={"Last-Event-ID": "1"})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("seen", ["-1", "x", "99999999999"])
async def test_a_last_event_id_that_was_never_sent_is_refused(
    rest: httpx.AsyncClient, shop: Shop, seen: str
) -> None:
    path = f"{(await place(rest)).headers['location']}/events"
    answer = await rest.get(path, headers={"Last-Event-ID": seen})
    assert answer.status_code == 422
    assert fields(answer) == ["Last-Event-ID"]


async def test_without_inventory_products_are_unavailable_and_orders_are_shown(
    rest: httpx.AsyncClient, servers: dict[str, RpcServer]
) -> None:
    location = (await place(rest)).headers["location"]
    await servers["inventory"].stop(0)
    answer = await rest.get("/products")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert (await rest.get(location)).status_code == 200


async def test_the_document_says_what_can_be_answered(rest: httpx.AsyncClient) -> None:
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
