"""Kill any process at any moment, erase the broker's disk: nothing is lost, nothing done twice."""

import asyncio
from collections.abc import Callable
from typing import Literal

import pytest
from upheaval import Upheaval, during_a_replay, kill_and_start

from devkit.platform import PlatformOptions

pytestmark = [pytest.mark.xdist_group("restarts"), pytest.mark.timeout(400)]

BASKETS = 75
BASKETS_OF_SOAK = 150


async def kill_all_once(upheaval: Upheaval) -> None:
    """Every service and the broker, in an order by chance, spread over the replay."""
    victims = [*(process.service for process in upheaval.platform.processes), "nats"]
    upheaval.random.shuffle(victims)
    for index, victim in enumerate(victims):
        await upheaval.after(0.1 + 0.8 * index / len(victims))
        await upheaval.moment()
        if victim == "nats":
            await asyncio.to_thread(upheaval.platform.broker.kill)
            await asyncio.to_thread(upheaval.platform.broker.start)
        else:
            await kill_and_start(upheaval.platform.of(victim)[0])


async def erase_the_broker(upheaval: Upheaval) -> None:
    """Its process is killed and its disk erased while services are busy."""
    broker = upheaval.platform.broker
    for part in (1, 2):
        await upheaval.after(part / 3)
        await upheaval.moment()
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.erase)
        await upheaval.moment()
        await asyncio.to_thread(broker.start)


async def test_every_service_and_the_broker_are_killed_once(
    options: Callable[..., PlatformOptions],
) -> None:
    await during_a_replay(options(), BASKETS, kill_all_once)


async def test_the_brokers_disk_is_erased_twice(options: Callable[..., PlatformOptions]) -> None:
    await during_a_replay(options(), BASKETS, erase_the_broker)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_kills_at_other_moments(
    options: Callable[..., PlatformOptions], database: Literal["sqlite", "postgres"], seed: int
) -> None:
    await during_a_replay(options(database), BASKETS_OF_SOAK, kill_all_once, seed)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_the_disk_is_erased_at_other_moments(
    options: Callable[..., PlatformOptions], database: Literal["sqlite", "postgres"], seed: int
) -> None:
    await during_a_replay(options(database), BASKETS_OF_SOAK, erase_the_broker, seed)
