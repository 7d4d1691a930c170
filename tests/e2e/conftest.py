"""Platforms for the end-to-end tests.

Tests that share a platform are in one xdist group ("shop" on `platform`, "restarts" on `replicas`),
so that one test process starts the platform and runs its tests one after the other.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from running_platform import assert_nothing_is_left, repair, running
from storefront import Storefront
from trace_collector import TraceCollector

from devkit.platform import Platform, PlatformOptions


@pytest.fixture(scope="package")
def collector() -> Iterator[TraceCollector]:
    """The receiver of the shared platform's traces."""
    with TraceCollector() as collector:
        yield collector


@pytest.fixture(scope="package")
def platform(
    tmp_path_factory: pytest.TempPathFactory, collector: TraceCollector
) -> Iterator[Platform]:
    """A platform with one replica of each service on SQLite. Tests only add orders and products."""
    options = PlatformOptions(
        data=tmp_path_factory.mktemp("platform"),
        free_ports=True,
        restart=False,
        environment={
            "APP_OTLP_ENDPOINT": collector.endpoint,
            "APP_LOG_FORMAT": "json",
            "APP_LOG_LEVEL": "DEBUG",
            "APP_STOPPED_RETRY_SECONDS": "1",
            # An hour, so that only broadcasts update an open event stream.
            "APP_ORDER_EVENTS_POLL_SECONDS": "3600",
        },
    )
    with running(options) as platform:
        yield platform


@pytest.fixture(autouse=True)
def repaired(request: pytest.FixtureRequest) -> Iterator[None]:
    """A repair of the shared platforms after each test, so that a failed test fails no other."""
    shared = {"platform", "replicas"} & set(request.fixturenames)
    platforms: list[Platform] = [request.getfixturevalue(name) for name in shared]
    yield
    for platform in platforms:
        repair(platform)


@pytest.fixture(scope="module")
def everything_ends(platform: Platform) -> Iterator[None]:
    """A check after the tests of a module: no work is open, and orders are confirmed."""
    yield

    async def check() -> None:
        await assert_nothing_is_left(platform)
        async with Storefront(platform) as shop:
            order_id = await shop.place(await shop.product())
            assert (await shop.wait_ended(order_id))["status"] == "confirmed"

    asyncio.run(check())


@pytest_asyncio.fixture
async def shop(platform: Platform) -> AsyncIterator[Storefront]:
    """A client of the shared platform, with a customer that no other test uses."""
    async with Storefront(platform) as storefront:
        yield storefront


@pytest.fixture(scope="package")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with two replicas of gateway and orders on PostgreSQL, for tests with faults."""
    options = PlatformOptions(
        data=tmp_path_factory.mktemp("replicas"),
        free_ports=True,
        restart=False,
        replicas={"gateway": 2, "orders": 2},
        database="postgres",
        environment={
            "APP_MEMBER_TTL_SECONDS": "2",
            "APP_LOG_FORMAT": "json",
        },
    )
    with running(options) as platform:
        yield platform


@pytest_asyncio.fixture
async def replicated(replicas: Platform) -> AsyncIterator[Storefront]:
    """A client of the platform with replicas, with a customer that no other test uses."""
    async with Storefront(replicas) as storefront:
        yield storefront
