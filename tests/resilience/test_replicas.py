"""Replicas come, go and die: the others take over, nothing is lost, nothing done twice."""

import asyncio
from collections.abc import Callable
from typing import Literal

import pytest
from upheaval import Upheaval, during_a_replay, kill_and_start

from devkit.platform import PlatformOptions

pytestmark = [pytest.mark.xdist_group("restarts"), pytest.mark.timeout(400)]

BASKETS = 75
BASKETS_OF_SOAK = 150


async def replicas_come_go_and_die(upheaval: Upheaval) -> None:
    """Of orders and inventory one replica leaves in order, one dies, one hangs for a while."""
    first, second = upheaval.platform.of("orders")
    *_, third = upheaval.platform.of("inventory")
    await upheaval.after(1 / 6)
    leaving = asyncio.create_task(second.stop())
    await upheaval.moment()
    third.pause()  # it keeps its lanes, its connections and what it has begun
    await upheaval.after(1 / 3)
    await leaving
    second.start()
    await second.wait_ready(60)
    await kill_and_start(first)
    await upheaval.after(1 / 2)
    third.resume()  # and goes on where it was
    await upheaval.moment()
    await kill_and_start(upheaval.platform.of("inventory")[0])


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_replicas_come_go_die_and_hang(
    options: Callable[..., PlatformOptions], database: Literal["sqlite", "postgres"]
) -> None:
    await during_a_replay(
        options(database, orders=2, inventory=3), BASKETS, replicas_come_go_and_die
    )


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_replicas_at_other_moments(
    options: Callable[..., PlatformOptions], database: Literal["sqlite", "postgres"], seed: int
) -> None:
    await during_a_replay(
        options(database, orders=2, inventory=3), BASKETS_OF_SOAK, replicas_come_go_and_die, seed
    )
