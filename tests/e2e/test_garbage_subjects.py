"""Whatever a stranger puts into the streams: orders go on, or a lane says why it does not.

Keeping strangers out is the broker's permissions' work; this is what holds without them.
"""

import nats
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from living_platform import nothing_is_left
from storefront import Storefront, eventually
from stranger import Stranger, header_block

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
# Anything but a plain number: that would be a forgery, and is looked at below.
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


def some_garbage() -> list[tuple[str, str, bytes, bytes]]:
    """What hypothesis makes up, the same each time."""
    made: list[tuple[str, str, bytes, bytes]] = []

    @settings(
        max_examples=150,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(messages)
    def make(message: tuple[str, str, bytes, bytes]) -> None:
        made.append(message)

    make()
    return made


async def orders_go_on(shop: Storefront) -> None:
    """Orders of every kind of end, over many lanes."""
    plenty, dear = await shop.product(), await shop.product(price=99_999)
    scarce = await shop.product(stock=0)
    placed = [await shop.placed(sku) for sku in [plenty] * 20 + [scarce, dear] * 5]
    ends = [(await shop.ended(order_id))["reason"] for order_id in placed]
    assert ends == [None] * 20 + ["out_of_stock", "payment_declined"] * 5


async def test_messages_without_a_number_cost_their_neighbors_nothing(
    platform: Platform, shop: Storefront
) -> None:
    await orders_go_on(shop)
    async with Stranger(platform.broker.url) as stranger:
        for type, lane, block, data in some_garbage():
            stranger.publish(f"{type}.{lane}", block, data)
        await stranger.arrived()

    await orders_go_on(shop)

    await nothing_is_left(platform)


async def test_a_number_that_was_taken_already_is_dropped(
    platform: Platform, shop: Storefront
) -> None:
    """An event's copy, or a forgery of one: the position is above its number."""
    order_id = await shop.placed(await shop.product())
    await shop.ended(order_id)
    await wait_ended(platform)
    lane = lane_of(order_id, LANES)
    before = await seen_again(shop)
    async with Stranger(platform.broker.url) as stranger:
        for type in TYPES[:2]:
            forged = header_block({"ce-sequence": "0000000000000001"})
            stranger.publish(f"{type}.{lane}", forged, b"garbage")
        await stranger.arrived()

    async def counted() -> bool:
        # Inventory takes both types; what is read anew is seen again, too.
        return await seen_again(shop) >= before + 2

    await eventually(counted, "both are seen again")
    await orders_go_on(shop)
    await nothing_is_left(platform)


async def test_a_number_far_above_stops_its_lane_which_says_so_until_it_is_taken_out(
    platform: Platform, shop: Storefront
) -> None:
    """The lane waits for what seems to be missing, as it must; the others go on."""
    (inventory,) = platform.of("inventory")
    subject = f"{TYPES[0]}.7"
    sku = await shop.product()
    async with Stranger(platform.broker.url) as stranger:
        stranger.publish(subject, header_block({"ce-sequence": "0000000000900000"}), b"garbage")
        await stranger.arrived()
    async with await nats.connect(platform.broker.url) as client:
        garbage = await client.jetstream().get_last_msg("orders", subject)

    async def said() -> tuple[str, ...]:
        return (await read_event_ledgers(platform))["inventory"].stopped

    (why,) = await eventually(said, "inventory says that a lane is stopped")
    assert why.startswith(f"{subject}: ")
    assert "are missing" in why
    placed, waiting = list[str](), list[str]()
    while len(placed) < 20 or not waiting:
        order_id = await shop.placed(sku)
        (waiting if lane_of(order_id, LANES) == 7 else placed).append(order_id)
    assert {(await shop.ended(order_id))["status"] for order_id in placed} == {"confirmed"}
    assert {(await shop.shown(order_id))["status"] for order_id in waiting} == {"pending"}

    async def measured() -> bool:
        return (await shop.metrics(inventory))["event_lanes_stopped",] == 1

    await eventually(measured, "its metric says so")
    async with await nats.connect(platform.broker.url) as client:
        await client.jetstream().delete_msg("orders", garbage.seq or 0)

    for order_id in waiting:
        assert (await shop.ended(order_id))["status"] == "confirmed"
    await nothing_is_left(platform)


async def seen_again(shop: Storefront) -> float:
    metrics = await shop.metrics(shop.platform.of("inventory")[0])
    return sum(value for key, value in metrics.items() if key[0] == "events_seen_again_total")
