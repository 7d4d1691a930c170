"""Platforms for the tests by the public surface.

Tests that share one are in the xdist group of its name, so that one test process starts it and
its tests run one after the other.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from living_platform import running
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
        environment={"APP_OTLP_ENDPOINT": collector.endpoint, "APP_LOG_FORMAT": "json"},
    )
    with running(options) as platform:
        yield platform


@pytest_asyncio.fixture
async def shop(platform: Platform) -> AsyncIterator[Storefront]:
    """The shared platform, with a customer of the test's own."""
    async with Storefront(platform) as storefront:
        yield storefront
