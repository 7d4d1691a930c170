"""Arbitrary messages in the streams: orders continue, or a stopped lane gives the reason.

The broker's permissions prevent such messages. These tests run without permissions.
"""

import nats
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from raw_client import RawClient, header_block
from running_platform import assert_nothing_is_left
from storefront import Storefront, eventually

from chassis.events.wire.lanes import LANES, lane_of
from demo.ledgers import read_event_ledgers
from demo.settle import wait_ended
from devkit.platform import Platform

pytestmark = pytest.mark.xdist_group("shop")

TYPES = [
    "shop.orders.v1.OrderPlaced",
    "shop.orders.v1.OrderConfirmed",
    "shop.orders.v1.OrderCancelled",
    "shop.orders.v1.PaymentRefundRequested",
    "shop.inventory.v1.StockReserved",
    "shop.inventory.v1.StockRejected",
    "shop.payments.v1.PaymentAuthorized",
    "shop.payments.v1.PaymentDeclined",
    "shop.payments.v1.PaymentRefunded",
]
HEADERS = [
    "ce-specversion",
    "ce-id",
    "ce-source",
    "ce-type",
    "ce-time",
    "ce-partitionkey",
    "ce-sequence",
    "Content-Type",
    "Nats-Msg-Id",
    "traceparent",
    "slipway-rank",
    "slipway-generation",
    "slipway-stored-at",
    "Status",
]
_lines = st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\x00")
# A plain number would be a forged event, which other tests below publish.
values = st.text(_lines, max_size=40).filter(lambda text: not (text.isascii() and text.isdigit()))
odd_numbers = st.sampled_from(["²", "٣", "1.5", "-1", "1_0", "0x1", "9" * 5000, " ", "NaN"])
headers = st.dictionaries(st.sampled_from(HEADERS), odd_numbers | values, max_size=6)
blocks = (
    st.just(b"")
    | headers.map(header_block)
    | st.binary(max_size=60).map(lambda noise: b"NATS/1.0\r\n" + noise + b"\r\n\r\n")
)
lanes = st.integers(0, LANES - 1).map(str) | st.sampled_from([str(LANES), "²", "x", "-1", "007"])
messages = st.tuples(st.sampled_from(TYPES), lanes, blocks, st.binary())


def generate_garbage() -> list[tuple[str, str, bytes, bytes]]:
    """Return generated messages, the same in each run."""
    generated: list[tuple[str, str, bytes, bytes]] = []

    @settings(
        max_examples=150,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(messages)
    def make(message: tuple[str, str, bytes, bytes]) -> None:
        generated.append(message)

    make()
    return generated


async def assert_orders_end(shop: Storefront) -> None:
    """Place orders in many lanes, and assert that each ends as it must."""
    plenty, expensive = await shop.product(), await shop.product(price=99_999)
    scarce = await shop.product(stock=0)
    placed = [await shop.place(sku) for sku in [plenty] * 20 + [scarce, expensive] * 5]
    reasons = [(await shop.wait_ended(order_id))["reason"] for order_id in placed]
    assert reasons == [None] * 20 + ["out_of_stock", "payment_declined"] * 5


async def test_messages_without_a_number_do_not_affect_orders(
    platform: Platform, shop: Storefront
) -> None:
    await assert_orders_end(shop)
    async with RawClient(platform.broker.url) as raw:
        for type, lane, block, data in generate_garbage():
            raw.publish(f"{type}.{lane}", block, data)
        await raw.flush()

    await assert_orders_end(shop)

    await assert_nothing_is_left(platform)


async def test_a_message_with_a_number_below_the_position_is_dropped(
    platform: Platform, shop: Storefront
) -> None:
    """Such a message is a copy of an event, or a forgery of one."""
    order_id = await shop.place(await shop.product())
    await shop.wait_ended(order_id)
    await wait_ended(platform)
    lane = lane_of(order_id, LANES)
    before = await seen_again(shop)
    async with RawClient(platform.broker.url) as raw:
        for type in TYPES[:2]:
            forged = header_block({"ce-sequence": "0000000000000001"})
            raw.publish(f"{type}.{lane}", forged, b"garbage")
        await raw.flush()

    async def both_counted() -> bool:
        # Inventory handles both types. Events that are read again count, too.
        return await seen_again(shop) >= before + 2

    await eventually(both_counted, "both are seen again")
    await assert_orders_end(shop)
    await assert_nothing_is_left(platform)


async def test_a_number_far_above_the_position_stops_its_lane_until_it_is_deleted(
    platform: Platform, shop: Storefront
) -> None:
    """The lane waits for the events that seem to be missing; other lanes continue."""
    (inventory,) = platform.of("inventory")
    subject = f"{TYPES[0]}.7"
    sku = await shop.product()
    async with RawClient(platform.broker.url) as raw:
        raw.publish(subject, header_block({"ce-sequence": "0000000000900000"}), b"garbage")
        await raw.flush()

    # The broker stores a message after it has answered the ping that followed it.
    async def stored_garbage() -> int | None:
        async with await nats.connect(platform.broker.url) as client:
            last = await client.jetstream().get_last_msg("orders", subject)
        return last.seq if last.data == b"garbage" else None

    sequence = await eventually(stored_garbage, "the stream holds the garbage")

    async def stopped_lanes() -> tuple[str, ...]:
        return (await read_event_ledgers(platform))["inventory"].stopped

    (stopped,) = await eventually(stopped_lanes, "inventory reports a stopped lane")
    assert stopped.startswith(f"{subject}: ")
    assert "are missing" in stopped
    placed, waiting = list[str](), list[str]()
    while len(placed) < 20 or not waiting:
        order_id = await shop.place(sku)
        (waiting if lane_of(order_id, LANES) == 7 else placed).append(order_id)
    assert {(await shop.wait_ended(order_id))["status"] for order_id in placed} == {"confirmed"}
    assert {(await shop.get_order(order_id))["status"] for order_id in waiting} == {"pending"}

    async def is_measured() -> bool:
        return (await shop.metrics(inventory))["event_lanes_stopped",] == 1

    await eventually(is_measured, "the metric counts the stopped lane")
    async with await nats.connect(platform.broker.url) as client:
        await client.jetstream().delete_msg("orders", sequence)

    for order_id in waiting:
        assert (await shop.wait_ended(order_id))["status"] == "confirmed"
    await assert_nothing_is_left(platform)


async def seen_again(shop: Storefront) -> float:
    metrics = await shop.metrics(shop.platform.of("inventory")[0])
    return sum(value for key, value in metrics.items() if key[0] == "events_seen_again_total")
