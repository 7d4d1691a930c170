"""Probes: without a dependency, a service is degraded or unavailable, but never dead."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from storefront import Storefront, eventually

from demo.channel import open_channel
from demo.settle import wait_ended
from devkit.platform import Platform
from devkit.service_process import ServiceProcess
from devkit.services import read_services
from devkit.workspace import find_workspace

# Starting many processes takes long on a busy machine.
pytestmark = [pytest.mark.xdist_group("restarts"), pytest.mark.timeout(300)]

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Probes:
    """A client of the probes of all replicas."""

    def __init__(self, platform: Platform, client: httpx.AsyncClient) -> None:
        self.platform = platform
        self._client = client

    async def get(self, process: ServiceProcess, path: str) -> tuple[int, dict[str, Any]]:
        answer = await self._client.get(f"{process.http_url}{path}")
        assert answer.headers["content-type"] == "application/json"
        return answer.status_code, answer.json()

    async def wait_for(self, status: str, *services: str) -> None:
        """Wait until all replicas, or those of the given services, report a status."""

        async def all_are() -> bool:
            reports = [await self.get(process, "/readyz") for process in self._replicas(services)]
            return all(report["status"] == status for _, report in reports)

        await eventually(all_are, f"{services or 'all services'} are {status}")

    async def statuses(self, path: str, *services: str) -> set[int]:
        return {(await self.get(process, path))[0] for process in self._replicas(services)}

    async def health(self, *services: str) -> set[int]:
        """Return the statuses of gRPC health checks of each server and each contract."""
        found = set()
        for process in self._replicas(services):
            if process.grpc_port is None:
                continue
            async with open_channel(process.grpc_address) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                names = ["", "slipway.v1.LedgerService"]
                for name in names:
                    request = health_pb2.HealthCheckRequest(service=name)
                    found.add((await stub.Check(request, timeout=20)).status)
        return found

    def _replicas(self, services: tuple[str, ...]) -> list[ServiceProcess]:
        return [p for p in self.platform.processes if not services or p.service in services]


@pytest_asyncio.fixture
async def probes(replicas: Platform) -> AsyncIterator[Probes]:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        probes = Probes(replicas, client)
        await probes.wait_for("ready")
        yield probes


@contextmanager
def broker_stopped(platform: Platform) -> Iterator[None]:
    platform.broker.kill()
    try:
        yield
    finally:
        platform.broker.start()


@contextmanager
def database_stopped(platform: Platform) -> Iterator[None]:
    assert platform.postgres is not None
    platform.postgres.stop()
    try:
        yield
    finally:
        platform.postgres.start()


WITH_DATABASE = tuple(
    service.name for service in read_services(find_workspace()) if service.has_database
)


async def test_with_all_dependencies_all_services_are_live_started_and_ready(
    probes: Probes,
) -> None:
    for process in probes.platform.processes:
        assert await probes.get(process, "/livez") == (200, {"status": "live"})
        assert await probes.get(process, "/startupz") == (200, {"status": "started"})
        code, report = await probes.get(process, "/readyz")
        has_database = process.service in WITH_DATABASE
        expected = {
            "status": "ready",
            "dependencies": ({"database": "ok"} if has_database else {}) | {"broker": "ok"},
        }
        if has_database:
            expected["events"] = {
                "dead_letters": 0,
                "stopped_lanes": [],
                "refused_events": 0,
                "paused_types": [],
            }
        assert (code, report) == (200, expected)
    assert await probes.health() == {SERVING}


async def test_without_the_broker_all_services_are_degraded_and_answer(
    probes: Probes, replicated: Storefront
) -> None:
    sku = await replicated.product()
    with broker_stopped(probes.platform):
        await probes.wait_for("degraded")

        for path in ("/livez", "/startupz", "/readyz"):
            assert await probes.statuses(path) == {200}
        _, report = await probes.get(probes.platform.of("orders")[0], "/readyz")
        assert report["dependencies"] == {"database": "ok", "broker": "unavailable"}
        assert await probes.health() == {SERVING}
        order_id = await replicated.place(sku)
        assert (await replicated.get_order(order_id))["status"] == "pending"

    await probes.wait_for("ready")
    await replicated.wait_ended(order_id)
    await wait_ended(probes.platform)


async def test_without_its_database_a_service_is_live_and_unavailable(
    probes: Probes, replicated: Storefront
) -> None:
    sku = await replicated.product()
    with database_stopped(probes.platform):
        await probes.wait_for("unavailable", *WITH_DATABASE)

        assert await probes.statuses("/livez") == {200}
        assert await probes.statuses("/startupz") == {200}
        assert await probes.statuses("/readyz", *WITH_DATABASE) == {503}
        without = {process.service for process in probes.platform.processes} - {*WITH_DATABASE}
        assert await probes.statuses("/readyz", *without) == {200}
        assert await probes.health(*WITH_DATABASE) == {NOT_SERVING}
        answer = await replicated.order(sku)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) >= 1

    await probes.wait_for("ready")
    assert await probes.health() == {SERVING}
    await replicated.wait_ended(await replicated.place(sku))
    await wait_ended(probes.platform)


async def test_a_service_starts_without_the_broker_and_is_ready_when_the_broker_is(
    probes: Probes, replicated: Storefront
) -> None:
    inventory, payments = (probes.platform.of(name)[0] for name in ("inventory", "payments"))
    with broker_stopped(probes.platform):
        for process in (inventory, payments):
            await process.stop()
            process.start()
        for process in (inventory, payments):
            await process.wait_ready()

        await probes.wait_for("degraded", "inventory", "payments")
        assert await probes.statuses("/startupz", "inventory", "payments") == {200}
        sku = await replicated.product()

    await probes.wait_for("ready")
    assert (await replicated.wait_ended(await replicated.place(sku)))["status"] == "confirmed"


async def test_a_service_that_starts_without_its_database_waits_for_it(
    probes: Probes, replicated: Storefront
) -> None:
    (notifications,) = probes.platform.of("notifications")
    with database_stopped(probes.platform):
        await notifications.stop()
        notifications.start()

        async def is_live() -> bool:
            try:
                code, _ = await probes.get(notifications, "/livez")
            except httpx.ConnectError:
                return False
            return code == 200

        await eventually(is_live, "notifications is live")
        code, report = await probes.get(notifications, "/readyz")
        assert (code, report["status"]) == (503, "starting")
        assert await probes.get(notifications, "/startupz") == (503, {"status": "starting"})

    await probes.wait_for("ready")
    assert await probes.statuses("/startupz") == {200}
    await wait_ended(probes.platform)
