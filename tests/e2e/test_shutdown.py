"""SIGTERM under load: what was accepted reaches its end, and who remains serves everybody."""

import pytest
from load import Load, ordering
from storefront import Storefront

from demo.ledgers import read_orders
from demo.settle import wait_ended
from devkit.service_process import ServiceProcess

pytestmark = pytest.mark.xdist_group("replicas")


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
    assert not [line for line in said if "cut short" in line or '"level": "error"' in line], said


async def started(process: ServiceProcess) -> None:
    process.start()
    await process.wait_ready(60)


@pytest.mark.parametrize("service", ["gateway", "orders"])
async def test_with_two_replicas_nobody_notices_that_one_after_the_other_is_stopped(
    replicated: Storefront, service: str
) -> None:
    """No request is cut or fails; only the stopped gateway itself lets no new connection in."""
    platform = replicated.platform
    gateways = [gateway.http_url for gateway in platform.of("gateway")]
    sku = await replicated.product(stock=1_000_000)

    async with ordering(replicated, sku, gateways) as load:
        for process in platform.of(service):
            await load.takes(10)
            others_before = refused_by_others(load, process)
            await stopped_in_order(process)
            await load.takes(10)
            assert refused_by_others(load, process) == others_before
            await started(process)
        await load.takes(10)

    assert load.failed == []
    assert load.cut == []
    if service == "orders":
        assert load.refused == []
    await every_202_reached_its_end(replicated, load)


@pytest.mark.parametrize("service", ["gateway", "orders"])
async def test_with_one_replica_every_202_reaches_its_end(
    replicated: Storefront, service: str
) -> None:
    platform = replicated.platform
    process, *others = platform.of(service)
    gateways = [gateway.http_url for gateway in platform.of("gateway")]
    if service == "gateway":
        gateways = gateways[:1]
    sku = await replicated.product(stock=1_000_000)
    for other in others:
        await other.stop()

    async with ordering(replicated, sku, gateways) as load:
        await load.takes(10)
        await stopped_in_order(process)
        await started(process)
        await load.takes(10)

    assert load.cut == []
    # What cannot be answered meanwhile says so, and when to come back.
    assert [failure for failure in load.failed if ": 503 " not in failure] == []
    for other in others:
        await started(other)
    await every_202_reached_its_end(replicated, load)


def refused_by_others(load: Load, process: ServiceProcess) -> int:
    return sum(url != process.http_url for url in load.refused)
