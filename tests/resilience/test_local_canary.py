"""The working tree as a canary next to the last commit: shares, deaths, and the laws."""

import asyncio
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fault_injection import ENVIRONMENT, FaultInjection, replay_with_faults

from chassis import ServiceSettings
from chassis.rpc.channel import open_channel
from demo.versions import read_version_counts
from devkit.local_canary import CanaryOptions
from devkit.platform import Platform, PlatformOptions
from localservers.program import installed_program
from shop.inventory.v1 import (
    GetProductRequest,
    InventoryServiceAsyncStub,
    InventoryServiceStub,
    LoadProductsRequest,
    Product,
)
from shop.money.v1 import Money

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("restarts"),
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        installed_program("envoy") is None, reason="Envoy is not installed: `make envoy`"
    ),
    pytest.mark.skipif(
        not (Path(__file__).parents[2] / ".git").exists(), reason="the last commit is unknown"
    ),
]

SECONDS = 90.0
BASKETS = 75
LANES = re.compile(r"^event_lanes (\S+)$", re.MULTILINE)


async def lanes(platform: Platform) -> dict[str, float]:
    """Return the lanes that each version of inventory reads, as its metrics say."""
    found = {}
    async with httpx.AsyncClient(trust_env=False) as client:
        for process in platform.of("inventory"):
            if process.running:
                page = (await client.get(f"{process.http_url}/metrics")).text
                found[process.track] = sum(map(float, LANES.findall(page)))
    return found


async def until_lanes_follow(platform: Platform, weight: int) -> None:
    """Wait until the canary's lanes are those of a weight, within one lane, and none is unread."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = await lanes(platform)
            canary = found.get("canary", 0)
            if sum(found.values()) == 20 and abs(canary - 20 * weight / 100) <= 1:
                return
            await asyncio.sleep(0.2)


async def move_the_weight_and_kill_the_canary(faults: FaultInjection) -> None:
    """Raise the weight, kill the canary, start it again with another weight."""
    platform = faults.platform
    (weight,) = platform.canaries
    _, canary = platform.of("inventory")
    await until_lanes_follow(platform, 30)
    await faults.after(1 / 4)
    weight.write(60)
    await until_lanes_follow(platform, 60)
    await asyncio.to_thread(canary.kill)
    await until_lanes_follow(platform, 0)
    weight.write(50)
    canary.start()
    await canary.wait_ready(60)
    await until_lanes_follow(platform, 50)


async def test_the_laws_hold_while_the_weight_moves_and_the_canary_dies_and_comes_back(
    options: Callable[..., PlatformOptions],
) -> None:
    canaried = replace(options(), canary=CanaryOptions({"inventory": 30}))
    await replay_with_faults(canaried, BASKETS, move_the_weight_and_kill_the_canary)


async def test_calls_are_split_by_the_weight_and_none_fails_when_the_canary_is_killed(
    tmp_path: Path,
) -> None:
    options = PlatformOptions(
        data=tmp_path,
        services=("inventory",),
        free_ports=True,
        restart=False,
        environment=ENVIRONMENT,
        canary=CanaryOptions({"inventory": 30}),
    )
    async with Platform(options) as platform:
        await platform.wait_ready(SECONDS)
        address = f"ipv4:{platform.grpc_address('inventory')}"
        async with open_channel(address, ServiceSettings()) as channel:
            stub: InventoryServiceAsyncStub = InventoryServiceStub(channel)
            milk = Product(
                sku="milk",
                name="Milk",
                department="GROCERY",
                price=Money(amount=1, currency="USD"),
                stock=1,
            )
            await stub.LoadProducts(LoadProductsRequest(products=[milk]), timeout=SECONDS)
            callers = Callers(stub)
            await callers.until_the_canary_answers(platform)

            before = await calls_by_version(platform)
            await callers.call(3000)
            made = await calls_by_version(platform) - before
            assert made.total() == 3000
            # A test of 4 standard deviations fails by chance once in 16,000 runs.
            assert abs(made["canary"] - 900) <= 4 * math.sqrt(3000 * 0.3 * 0.7), made

            _, canary = platform.of("inventory")
            calling = asyncio.create_task(callers.call(600))
            while callers.left > 400:
                await asyncio.sleep(0.001)
            await asyncio.to_thread(canary.kill)
            await calling
            assert callers.left == 0


class Callers:
    """Sixteen concurrent callers, as a service calls another one. A failed call fails the test."""

    def __init__(self, stub: InventoryServiceAsyncStub) -> None:
        self._stub = stub
        self.left = 0

    async def call(self, count: int) -> None:
        self.left += count
        await asyncio.gather(*(self._caller() for _ in range(16)))

    async def until_the_canary_answers(self, platform: Platform) -> None:
        """Wait until Envoy has found the canary ready.

        Before its first checks Envoy asks any replica, and after a failed one it checks again
        within a second. So the canary has to answer in each part of more than a second.
        """
        parts = 0
        async with asyncio.timeout(SECONDS):
            while parts < 12:
                before = await calls_by_version(platform)
                await self.call(32)
                answered = (await calls_by_version(platform) - before)["canary"]
                parts = parts + 1 if answered else 0
                await asyncio.sleep(0.1)

    async def _caller(self) -> None:
        while self.left > 0:
            self.left -= 1
            await self._stub.GetProduct(GetProductRequest(sku="milk"), timeout=SECONDS)


async def calls_by_version(platform: Platform) -> Counter[str]:
    """Return the answered calls of inventory by version."""
    counts = (await read_version_counts(platform.processes))["inventory"]
    return Counter({version: count.calls for version, count in counts.items()})
