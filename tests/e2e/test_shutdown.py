"""SIGTERM under load: what was accepted reaches its end, and who remains serves everybody."""

import pytest
from load import Load, ordering
from storefront import Storefront

from demo.ledgers import read_orders
from demo.settle import wait_ended
from devkit.service_process import ServiceProcess

# Processes are started again and again, which takes its time on a busy machine.
pytestmark = [pytest.mark.xdist_group("restarts"), pytest.mark.timeout(300)]


async def every_202_reached_its_end(shop: Storefront, load: Load) -> None:
    assert len(set(load.taken)) == len(load.taken)
    await wait_ended(shop.platform)
    ledger = await read_orders(shop.platform)
    assert {ledger[order_id].endings for order_id in load.taken} == {1}


async def stopped_in_order(process: ServiceProcess) -> None:
    """SIGTERM, and it ends by itself, without anything that was cut short."""
    before = len(process.lines())
    process.terminate()
    assert await process.wait_ended() == 0
    said = process.lines()[before:]
    assert not [
        line for line in said if "shutdown step timed out" in line or '"level": "error"' in line
    ], said


async def started(process: ServiceProcess) -> None:
    process.start()
    await process.wait_ready(60)


@pytest.mark.parametrize("service", ["gateway", "orders"])
async def test_nobody_notices_that_one_of_two_stops_and_every_202_survives_the_last_one(
    replicated: Storefront, service: str
) -> None:
    """With two, only the stopped gateway itself lets no new connection in: nothing is cut or fails.

    When the other stops too, what cannot be answered is refused with 503, and comes back later.
    """
    platform = replicated.platform
    gateways = [gateway.http_url for gateway in platform.of("gateway")]
    first, last = platform.of(service)
    sku = await replicated.product(stock=1_000_000)

    async with ordering(replicated, sku, gateways) as load:
        await load.takes(10)
        await stopped_in_order(first)
        await load.takes(10)
        assert load.failed == []
        assert load.cut == []
        assert refused_by_others(load, first) == 0
        if service == "orders":
            assert load.refused == []

        await stopped_in_order(last)
        await started(last)
        await load.takes(10)

    assert load.cut == []
    assert [failure for failure in load.failed if ": 503 " not in failure] == []
    await started(first)
    await every_202_reached_its_end(replicated, load)


@pytest.mark.parametrize("service", ["inventory", "payments", "notifications"])
async def test_every_202_survives_the_stop_of_the_only_one(
    replicated: Storefront, service: str
) -> None:
    """Without inventory there are no prices, and orders are refused; the others are not missed."""
    platform = replicated.platform
    (only,) = platform.of(service)
    sku = await replicated.product(stock=1_000_000)

    async with ordering(replicated, sku, [p.http_url for p in platform.of("gateway")]) as load:
        await load.takes(10)
        await stopped_in_order(only)
        if service != "inventory":
            await load.takes(10)
        await started(only)
        await load.takes(10)

    assert load.cut == load.refused == []
    refused = [failure for failure in load.failed if ": 503 " in failure]
    assert load.failed == (refused if service == "inventory" else [])
    await every_202_reached_its_end(replicated, load)


def refused_by_others(load: Load, process: ServiceProcess) -> int:
    return sum(url != process.http_url for url in load.refused)
