"""A request that is sent again with its Idempotency-Key is the same order."""

import asyncio
from uuid import uuid4

import httpx
import pytest
from storefront import Storefront

pytestmark = pytest.mark.xdist_group("shop")


def key() -> dict[str, str]:
    return {"Idempotency-Key": f"key-{uuid4()}"}


async def orders_of(shop: Storefront, customer: str | None = None) -> list[str]:
    page = await shop.rest.get("/orders", params={"customer_id": customer or shop.customer})
    return [order["order_id"] for order in page.json()["items"]]


async def test_twenty_concurrent_requests_are_one_order(shop: Storefront) -> None:
    sku, headers = await shop.product(stock=100), key()

    answers = await asyncio.gather(*(shop.order(sku, 3, headers=headers) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {202}
    ids = {answer.json()["order_id"] for answer in answers}
    assert len(ids) == 1
    assert {answer.headers["location"] for answer in answers} == {f"/orders/{ids.copy().pop()}"}
    assert {str(answer.json()["total"]) for answer in answers} == {
        "{'amount': 750, 'currency': 'USD'}"
    }
    assert await orders_of(shop) == [*ids]
    await shop.wait_ended(ids.pop())
    assert await shop.stock(sku) == 97


async def test_a_request_sent_again_after_the_end_gets_the_ended_order(
    shop: Storefront,
) -> None:
    sku, headers = await shop.product(stock=10), key()
    first = (await shop.order(sku, headers=headers)).json()
    await shop.wait_ended(first["order_id"])

    again = await shop.order(sku, headers=headers)

    assert again.status_code == 202
    assert again.json() == first | {"status": "confirmed"}
    assert await shop.stock(sku) == 9


async def test_an_equivalent_body_is_the_same_request(shop: Storefront) -> None:
    sku, headers = await shop.product(), key()
    first = await shop.order(sku, 3, headers=headers)
    lines = [{"quantity": 2, "sku": sku}, {"sku": sku, "quantity": 1}]

    again = await shop.rest.post(
        "/orders", json={"lines": lines, "customer_id": shop.customer}, headers=headers
    )

    assert again.json()["order_id"] == first.json()["order_id"]


async def test_the_key_with_another_body_is_refused_and_places_nothing(shop: Storefront) -> None:
    sku, headers = await shop.product(), key()
    first = await shop.order(sku, 1, headers=headers)

    other = await shop.order(sku, 2, headers=headers)

    assert first.status_code == 202
    assert other.status_code == 422
    assert other.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in other.json()["errors"]] == ["Idempotency-Key"]
    assert await orders_of(shop) == [first.json()["order_id"]]


async def test_one_of_two_concurrent_bodies_is_accepted(shop: Storefront) -> None:
    sku, headers = await shop.product(), key()

    answers = await asyncio.gather(
        *(shop.order(sku, 1 + n % 2, headers=headers) for n in range(10))
    )

    accepted = [answer for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code == 422]
    assert (len(accepted), len(refused)) == (5, 5)
    assert await orders_of(shop) == [accepted[0].json()["order_id"]]


async def test_a_key_belongs_to_its_customer(shop: Storefront) -> None:
    sku, headers = await shop.product(), key()
    mine = await shop.order(sku, headers=headers)
    other_customer = f"customer-{uuid4().hex[:12]}"

    theirs: httpx.Response = await shop.rest.post(
        "/orders", json=shop.body(sku) | {"customer_id": other_customer}, headers=headers
    )

    assert theirs.status_code == 202
    assert theirs.json()["order_id"] != mine.json()["order_id"]
    assert await orders_of(shop, other_customer) == [theirs.json()["order_id"]]


async def test_without_a_key_each_request_is_an_order(shop: Storefront) -> None:
    sku = await shop.product()

    placed = {await shop.place(sku) for _ in range(3)}

    assert set(await orders_of(shop)) == placed
    assert len(placed) == 3


@pytest.mark.parametrize("value", ["", "a b", "k" * 256])
async def test_an_invalid_key_is_refused(shop: Storefront, value: str) -> None:
    answer = await shop.order(await shop.product(), headers={"Idempotency-Key": value})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["Idempotency-Key"]


async def test_the_key_of_a_refused_request_can_be_used_again(shop: Storefront) -> None:
    headers = key()
    refused = await shop.order("no-such-sku", headers=headers)

    accepted = await shop.order(await shop.product(), headers=headers)

    assert (refused.status_code, accepted.status_code) == (422, 202)
