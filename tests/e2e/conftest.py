"""Platforms for the tests by the public surface.

Tests that share one are in one xdist group ("shop" on `platform`, "restarts" on `replicas`), so
that one test process starts it and its tests run one after the other.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from living_platform import mend, nothing_is_left, running
from storefront import Storefront
from trace_collector import TraceCollector

from devkit.platform import Platform, PlatformOptions


@pytest.fixture(scope="session")
def collector() -> Iterator[TraceCollector]:
    """Where the shared platform sends its traces."""
    with TraceCollector() as collector:
        yield collector


@pytest.fixture(scope="session")
def platform(
    tmp_path_factory: pytest.TempPathFactory, collector: TraceCollector
) -> Iterator[Platform]:
    """One of every service, on SQLite. Tests leave it as it was, but for orders of their own."""
    options = PlatformOptions(
        data=tmp_path_factory.mktemp("platform"),
        free_ports=True,
        restart=False,
        environment={
            "APP_OTLP_ENDPOINT": collector.endpoint,
            "APP_LOG_FORMAT": "json",
            "APP_LOG_LEVEL": "DEBUG",
            "APP_STOPPED_RETRY_SECONDS": "1",
            # So long that nothing but the broadcasts brings an open event stream up to date.
            "APP_ORDER_EVENTS_POLL_SECONDS": "3600",
        },
    )
    with running(options) as platform:
        yield platform


@pytest.fixture(autouse=True)
def mended(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that fails while something is stopped costs the tests after it nothing."""
    shared = {"platform", "replicas"} & set(request.fixturenames)
    platforms: list[Platform] = [request.getfixturevalue(name) for name in shared]
    yield
    for platform in platforms:
        mend(platform)


@pytest.fixture(scope="module")
def whatever_was_taken_reaches_its_end(platform: Platform) -> Iterator[None]:
    """What the tests of a module placed and loaded leaves nothing behind, and orders go on."""
    yield

    async def orders_go_on() -> None:
        await nothing_is_left(platform)
        async with Storefront(platform) as shop:
            order_id = await shop.placed(await shop.product())
            assert (await shop.ended(order_id))["status"] == "confirmed"

    asyncio.run(orders_go_on())


@pytest_asyncio.fixture
async def shop(platform: Platform) -> AsyncIterator[Storefront]:
    """The shared platform, with a customer of the test's own."""
    async with Storefront(platform) as storefront:
        yield storefront


@pytest.fixture(scope="session")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Two of gateway and orders, on PostgreSQL. Its tests kill, stop and pause what they like."""
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
    """The platform with replicas, with a customer of the test's own."""
    async with Storefront(replicas) as storefront:
        yield storefront
