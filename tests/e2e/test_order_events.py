"""An order's event stream: past events, then future ones, up to the terminal one.

Future events arrive by broadcasts, because a stream of this platform polls only every hour.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from cloudevents.core.formats.json import JSONFormat
from storefront import ReceivedEvent, Storefront, paused

pytestmark = pytest.mark.xdist_group("shop")

CONFIRMED = [
    "shop.orders.v1.OrderPlaced",
    "shop.inventory.v1.StockReserved",
    "shop.payments.v1.PaymentAuthorized",
    "shop.orders.v1.OrderConfirmed",
]


async def read_all(events: AsyncIterator[ReceivedEvent]) -> list[ReceivedEvent]:
    return [event async for event in events]


async def test_the_stream_of_an_ended_order_has_its_history_and_ends(
    shop: Storefront,
) -> None:
    (order_id,) = await shop.place_paid(await shop.product())
    await shop.wait_ended(order_id)

    async with shop.follow(order_id) as stream:
        events = await read_all(stream)

    assert [event.event for event in events] == CONFIRMED
    assert [event.id for event in events] == ["1", "2", "3", "4"]


async def test_past_events_come_before_future_ones(shop: Storefront) -> None:
    sku = await shop.product()
    with paused(shop.platform.of("payments")[0]):
        order_id = await shop.place_reserved(sku)
        async with shop.follow(order_id) as stream:
            first = [await anext(stream), await anext(stream)]
            assert [event.event for event in first] == CONFIRMED[:2]

            shop.platform.of("payments")[0].resume()
            remaining = await read_all(stream)

    assert [event.event for event in remaining] == CONFIRMED[2:]
    assert (await shop.get_order(order_id))["status"] == "confirmed"


@pytest.mark.parametrize(
    ("price", "stock", "last"),
    [
        (250, 0, ["shop.inventory.v1.StockRejected", "shop.orders.v1.OrderCancelled"]),
        (99_999, 5, ["shop.payments.v1.PaymentDeclined", "shop.orders.v1.OrderCancelled"]),
    ],
)
async def test_a_stream_ends_with_the_cancellation(
    shop: Storefront, price: int, stock: int, last: list[str]
) -> None:
    order_id = await shop.place(await shop.product(price=price, stock=stock))

    async with shop.follow(order_id) as stream:
        events = await read_all(stream)

    assert [event.event for event in events][-2:] == last


async def test_every_event_is_a_structured_cloudevent_of_the_order(shop: Storefront) -> None:
    (order_id,) = await shop.place_paid(await shop.product())
    async with shop.follow(order_id) as stream:
        events = await read_all(stream)

    parsed = [JSONFormat().read(None, event.data) for event in events]

    assert [event.get_type() for event in parsed] == [event.event for event in events]
    assert {event.get_specversion() for event in parsed} == {"1.0"}
    assert {event.get_subject() for event in parsed} == {order_id}
    assert {event.get_extension("partitionkey") for event in parsed} == {order_id}
    assert [event.get_source() for event in parsed] == ["orders", "inventory", "payments", "orders"]
    assert len({event.get_id() for event in parsed}) == 4
    # Each event is caused by the one before, and all belong to the first.
    assert [event.get_extension("causationid") for event in parsed[1:]] == [
        event.get_id() for event in parsed[:-1]
    ]
    assert {event.get_extension("correlationid") for event in parsed} == {parsed[0].get_id()}
    (traceparent,) = {event.get_extension("traceparent") for event in parsed}
    assert traceparent
    for event in events:
        assert event.cloudevent["datacontenttype"] == "application/json"
        assert event.cloudevent["data"]["order_id"] == order_id
        assert event.cloudevent["time"].endswith("Z")


@pytest.mark.parametrize("seen", range(4))
async def test_a_browser_that_reconnects_continues_after_the_last_received_event(
    shop: Storefront, seen: int
) -> None:
    (order_id,) = await shop.place_paid(await shop.product())
    await shop.wait_ended(order_id)

    async with shop.follow(order_id, last_event_id=str(seen)) as stream:
        events = await read_all(stream)

    assert [event.id for event in events] == ["1", "2", "3", "4"][seen:]


async def test_a_browser_that_has_received_the_last_event_is_told_not_to_reconnect(
    shop: Storefront,
) -> None:
    (order_id,) = await shop.place_paid(await shop.product())
    await shop.wait_ended(order_id)

    answer = await shop.rest.get(f"/orders/{order_id}/events", headers={"Last-Event-ID": "4"})

    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_stream_resumed_after_a_future_event_ends_with_the_order(shop: Storefront) -> None:
    sku = await shop.product()
    with paused(shop.platform.of("payments")[0]):
        order_id = await shop.place_reserved(sku)
        async with shop.follow(order_id, last_event_id="7") as stream:
            shop.platform.of("payments")[0].resume()
            assert await read_all(stream) == []
    assert (await shop.get_order(order_id))["status"] == "confirmed"


async def test_a_broken_stream_is_resumed_without_loss(shop: Storefront) -> None:
    sku = await shop.product()
    with paused(shop.platform.of("payments")[0]):
        order_id = await shop.place_reserved(sku)
        async with shop.follow(order_id) as stream:
            before = [await anext(stream), await anext(stream)]
    await shop.wait_ended(order_id)

    async with shop.follow(order_id, last_event_id=before[-1].id) as stream:
        after = await read_all(stream)

    assert [event.event for event in before + after] == CONFIRMED


async def test_two_browsers_receive_the_same_events(shop: Storefront) -> None:
    sku = await shop.product()
    with paused(shop.platform.of("payments")[0]):
        order_id = await shop.place_reserved(sku)
        async with shop.follow(order_id) as one, shop.follow(order_id) as other:
            first = [await anext(one), await anext(other)]
            shop.platform.of("payments")[0].resume()
            remaining = await asyncio.gather(read_all(one), read_all(other))

    assert first[0] == first[1]
    assert remaining[0] == remaining[1]
    assert [event.event for event in [first[0], *remaining[0]]] == CONFIRMED


async def test_each_stream_has_only_the_events_of_its_order(shop: Storefront) -> None:
    sku = await shop.product()
    orders = await shop.place_paid(sku, 10)

    async def subjects(order_id: str) -> list[str]:
        async with shop.follow(order_id) as stream:
            return [event.cloudevent["subject"] for event in await read_all(stream)]

    assert await asyncio.gather(*map(subjects, orders)) == [[order_id] * 4 for order_id in orders]


async def test_an_unknown_order_has_no_stream(shop: Storefront) -> None:
    answer = await shop.rest.get("/orders/unknown/events")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("seen", ["-1", "x", "1.5", "99999999999"])
async def test_an_invalid_last_event_id_is_refused(shop: Storefront, seen: str) -> None:
    order_id = await shop.place(await shop.product())

    answer = await shop.rest.get(f"/orders/{order_id}/events", headers={"Last-Event-ID": seen})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["Last-Event-ID"]


async def test_an_open_stream_ends_with_a_hint_to_reconnect_when_the_gateway_stops(
    shop: Storefront,
) -> None:
    gateway = shop.platform.of("gateway")[0]
    sku = await shop.product()
    with paused(shop.platform.of("payments")[0]):
        order_id = await shop.place_reserved(sku)
        async with shop.rest.stream("GET", f"/orders/{order_id}/events") as answer:
            lines = answer.aiter_lines()
            while not (await anext(lines)).startswith("id: 2"):
                pass
            gateway.terminate()
            remaining = [line async for line in lines]
        code = await gateway.wait_ended()
        gateway.start()
        await gateway.wait_ready()

    assert "retry: 1000" in remaining
    assert code == 0
    await shop.wait_ended(order_id)
    async with shop.follow(order_id, last_event_id="2") as stream:
        assert [event.event for event in await read_all(stream)] == CONFIRMED[2:]
