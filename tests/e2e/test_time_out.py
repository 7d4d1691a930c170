"""An order that is pending for too long is cancelled, and its payment is refunded."""

import asyncio
from collections.abc import Iterator

import pytest
from storefront import Storefront, paused

from demo.ledgers import read_ledgers
from demo.settle import wait_ended
from devkit.platform import Platform

# Starting many processes takes long on a busy machine.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("restarts"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def short_time_out(replicas: Platform) -> Iterator[None]:
    """Orders with a time-out of 3 s; after the tests it has its default of 60 s again."""
    orders = replicas.of("orders")

    async def restart_with(seconds: str) -> None:
        for process in orders:
            await process.stop()
            process.start({"APP_ORDER_TIMEOUT_SECONDS": seconds})
        for process in orders:
            await process.wait_ready(90)

    asyncio.run(restart_with("3"))
    yield
    asyncio.run(restart_with("60"))


async def test_an_order_whose_payment_comes_after_its_time_out_is_refunded(
    replicated: Storefront,
) -> None:
    """Payments is paused until orders has cancelled the orders."""
    platform = replicated.platform
    (payments,) = platform.of("payments")
    sku = await replicated.product(price=1200, stock=10)
    with paused(payments):
        orders = [await replicated.place(sku, 2) for _ in range(3)]
        ends = [await replicated.wait_ended(order_id) for order_id in orders]
    assert {(end["status"], end["reason"]) for end in ends} == {("cancelled", "timed_out")}

    await wait_ended(platform)

    ledgers = await read_ledgers(platform)
    for order_id in orders:
        paid = ledgers.payments[order_id]
        assert (paid.captured, paid.refunded) == (2400, 2400)
        assert ledgers.notifications[order_id] == 1
        assert ledgers.orders[order_id].endings == 1
    stock = ledgers.stock[sku]
    assert (stock.on_hand, stock.reserved, stock.sold) == (10, 0, 0)
    assert (await replicated.get_order(orders[0]))["status"] == "cancelled"
    assert {entry.dead_letters for entry in ledgers.events.values()} == {0}


async def test_its_event_stream_ends_with_the_cancellation_and_not_with_the_refund(
    replicated: Storefront,
) -> None:
    (payments,) = replicated.platform.of("payments")
    sku = await replicated.product()
    with paused(payments):
        order_id = await replicated.place(sku)
        async with replicated.follow(order_id) as stream:
            live = [event async for event in stream]
    await wait_ended(replicated.platform)

    async with replicated.follow(order_id) as stream:
        again = [event async for event in stream]

    # StockReserved may arrive before or after the time-out.
    types = [event.event for event in live if event.event != "shop.inventory.v1.StockReserved"]
    assert types == ["shop.orders.v1.OrderPlaced", "shop.orders.v1.OrderCancelled"]
    assert live[-1].cloudevent["data"]["reason"] == "CANCEL_REASON_TIMED_OUT"
    assert again == live


async def test_a_time_out_without_the_broker_is_published_later(replicated: Storefront) -> None:
    """Orders cancels without the broker; the event waits in its outbox."""
    platform = replicated.platform
    sku = await replicated.product(stock=5)
    platform.broker.kill()
    try:
        order_id = await replicated.place(sku, 3)
        order = await replicated.wait_ended(order_id)
        assert order["reason"] == "timed_out"
        assert await replicated.stock(sku) == 5
    finally:
        platform.broker.start()

    await wait_ended(platform)

    ledgers = await read_ledgers(platform)
    assert ledgers.notifications[order_id] == 1
    paid = ledgers.payments.get(order_id)
    assert paid is None or paid.captured == paid.refunded
    await replicated.wait_for_stock(sku, 5)
