"""Killed processes and an erased disk of the broker: no effect is lost or doubled."""

import asyncio
from collections.abc import Callable
from typing import Literal

import pytest
from fault_injection import FaultInjection, kill_and_start, replay_with_faults

from devkit.platform import PlatformOptions

pytestmark = [pytest.mark.xdist_group("restarts"), pytest.mark.timeout(400)]

BASKETS = 75
BASKETS_OF_SOAK = 150


async def kill_all_once(faults: FaultInjection) -> None:
    """Kill each service and the broker in random order, spread over the replay."""
    victims = [*(process.service for process in faults.platform.processes), "nats"]
    faults.random.shuffle(victims)
    for index, victim in enumerate(victims):
        await faults.after(0.1 + 0.8 * index / len(victims))
        await faults.random_moment()
        if victim == "nats":
            await asyncio.to_thread(faults.platform.broker.kill)
            await asyncio.to_thread(faults.platform.broker.start)
        else:
            await kill_and_start(faults.platform.of(victim)[0])


async def erase_the_broker(faults: FaultInjection) -> None:
    """Kill the broker and erase its disk twice during the replay."""
    broker = faults.platform.broker
    for part in (1, 2):
        await faults.after(part / 3)
        await faults.random_moment()
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.erase)
        await faults.random_moment()
        await asyncio.to_thread(broker.start)


async def test_every_service_and_the_broker_are_killed_once(
    options: Callable[..., PlatformOptions],
) -> None:
    await replay_with_faults(options(), BASKETS, kill_all_once)


async def test_the_brokers_disk_is_erased_twice(options: Callable[..., PlatformOptions]) -> None:
    await replay_with_faults(options(), BASKETS, erase_the_broker)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_kills_at_other_moments(
    options: Callable[..., PlatformOptions], database: Literal["sqlite", "postgres"], seed: int
) -> None:
    await replay_with_faults(options(database), BASKETS_OF_SOAK, kill_all_once, seed)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_the_disk_is_erased_at_other_moments(
    options: Callable[..., PlatformOptions], database: Literal["sqlite", "postgres"], seed: int
) -> None:
    await replay_with_faults(options(database), BASKETS_OF_SOAK, erase_the_broker, seed)
