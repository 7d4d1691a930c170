"""Replicas that start, stop, crash and hang: others take over, no effect is lost or doubled."""

import asyncio
from collections.abc import Callable
from typing import Literal

import pytest
from fault_injection import FaultInjection, kill_and_start, replay_with_faults

from devkit.platform import PlatformOptions

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("restarts"), pytest.mark.timeout(400)]

BASKETS = 75
BASKETS_OF_SOAK = 150


async def stop_kill_and_pause_replicas(faults: FaultInjection) -> None:
    """Stop and kill a replica of orders each; pause and kill a replica of inventory each."""
    first, second = faults.platform.of("orders")
    *_, third = faults.platform.of("inventory")
    await faults.after(1 / 6)
    stopping = asyncio.create_task(second.stop())
    await faults.random_moment()
    third.pause()  # It keeps its lanes, its connections and what it has begun.
    await faults.after(1 / 3)
    await stopping
    second.start()
    await second.wait_ready(60)
    await kill_and_start(first)
    await faults.after(1 / 2)
    third.resume()  # It continues where it was.
    await faults.random_moment()
    await kill_and_start(faults.platform.of("inventory")[0])


@pytest.mark.parametrize("database", [pytest.param("sqlite", marks=pytest.mark.soak), "postgres"])
async def test_replicas_start_stop_crash_and_hang(
    options: Callable[..., PlatformOptions], database: Literal["sqlite", "postgres"]
) -> None:
    await replay_with_faults(
        options(database, orders=2, inventory=3), BASKETS, stop_kill_and_pause_replicas
    )


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_replicas_at_other_moments(
    options: Callable[..., PlatformOptions], database: Literal["sqlite", "postgres"], seed: int
) -> None:
    await replay_with_faults(
        options(database, orders=2, inventory=3),
        BASKETS_OF_SOAK,
        stop_kill_and_pause_replicas,
        seed,
    )
