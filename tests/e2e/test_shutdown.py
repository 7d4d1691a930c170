"""SIGTERM under load: accepted orders end, and the other replica serves all requests."""

import pytest
from order_load import Load, ordering
from storefront import Storefront

from demo.ledgers import read_orders
from demo.settle import wait_ended
from devkit.service_process import ServiceProcess

# Starting many processes takes long on a busy machine.
pytestmark = [pytest.mark.xdist_group("restarts"), pytest.mark.timeout(300)]


async def assert_every_order_ended_once(shop: Storefront, load: Load) -> None:
    assert len(set(load.accepted)) == len(load.accepted)
    await wait_ended(shop.platform)
    ledger = await read_orders(shop.platform)
    assert {ledger[order_id].endings for order_id in load.accepted} == {1}


async def stop_gracefully(process: ServiceProcess) -> None:
    """Send SIGTERM, and assert that the process ends without an error or a step that timed out."""
    before = len(process.lines())
    process.terminate()
    assert await process.wait_ended() == 0
    lines = process.lines()[before:]
    assert not [
        line for line in lines if "shutdown step timed out" in line or '"level": "error"' in line
    ], lines


async def start(process: ServiceProcess) -> None:
    process.start()
    await process.wait_ready(60)


@pytest.mark.parametrize("service", ["gateway", "orders"])
async def test_no_request_fails_while_one_of_two_replicas_stops_and_no_order_is_lost_when_both_do(
    replicated: Storefront, service: str
) -> None:
    """While one of two stops, only the stopped gateway itself refuses connections.

    When the other stops too, requests that cannot be answered get 503 and are sent again.
    """
    platform = replicated.platform
    gateways = [gateway.http_url for gateway in platform.of("gateway")]
    first, last = platform.of(service)
    sku = await replicated.product(stock=1_000_000)

    async with ordering(replicated, sku, gateways) as load:
        await load.wait_accepted(10)
        await stop_gracefully(first)
        await load.wait_accepted(10)
        assert load.failed == []
        assert load.broken == []
        assert refused_by_others(load, first) == 0
        if service == "orders":
            assert load.refused == []

        await stop_gracefully(last)
        await start(last)
        await load.wait_accepted(10)

    assert load.broken == []
    assert [failure for failure in load.failed if ": 503 " not in failure] == []
    await start(first)
    await assert_every_order_ended_once(replicated, load)


@pytest.mark.parametrize("service", ["inventory", "payments", "notifications"])
async def test_no_order_is_lost_when_the_only_replica_stops(
    replicated: Storefront, service: str
) -> None:
    """Orders are refused without inventory, which has the prices, but not without the others."""
    platform = replicated.platform
    (only,) = platform.of(service)
    sku = await replicated.product(stock=1_000_000)

    async with ordering(replicated, sku, [p.http_url for p in platform.of("gateway")]) as load:
        await load.wait_accepted(10)
        await stop_gracefully(only)
        if service != "inventory":
            await load.wait_accepted(10)
        await start(only)
        await load.wait_accepted(10)

    assert load.broken == load.refused == []
    refused = [failure for failure in load.failed if ": 503 " in failure]
    assert load.failed == (refused if service == "inventory" else [])
    await assert_every_order_ended_once(replicated, load)


def refused_by_others(load: Load, process: ServiceProcess) -> int:
    return sum(url != process.http_url for url in load.refused)
