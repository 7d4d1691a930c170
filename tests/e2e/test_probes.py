"""Probes tell the truth: what is away makes a service degraded or unavailable, never dead."""

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

# Processes are started again and again, which takes its time on a busy machine.
pytestmark = [pytest.mark.xdist_group("restarts"), pytest.mark.timeout(300)]

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Probes:
    """Asks every replica."""

    def __init__(self, platform: Platform, client: httpx.AsyncClient) -> None:
        self.platform = platform
        self._client = client

    async def ask(self, process: ServiceProcess, path: str) -> tuple[int, dict[str, Any]]:
        answer = await self._client.get(f"{process.http_url}{path}")
        assert answer.headers["content-type"] == "application/json"
        return answer.status_code, answer.json()

    async def come_to(self, status: str, *services: str) -> None:
        """Return once every replica (of these services) reports it."""

        async def all_are() -> bool:
            reports = [await self.ask(process, "/readyz") for process in self._those(services)]
            return all(report["status"] == status for _, report in reports)

        await eventually(all_are, f"{services or 'all'} come to be {status}")

    async def statuses(self, path: str, *services: str) -> set[int]:
        return {(await self.ask(process, path))[0] for process in self._those(services)}

    async def health(self, *services: str) -> set[int]:
        """What gRPC's own health says of each server, and of each contract it serves."""
        found = set()
        for process in self._those(services):
            if process.grpc_port is None:
                continue
            async with open_channel(process.grpc_address) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                names = ["", "slipway.v1.LedgerService"]
                for name in names:
                    request = health_pb2.HealthCheckRequest(service=name)
                    found.add((await stub.Check(request, timeout=20)).status)
        return found

    def _those(self, services: tuple[str, ...]) -> list[ServiceProcess]:
        return [p for p in self.platform.processes if not services or p.service in services]


@pytest_asyncio.fixture
async def probes(replicas: Platform) -> AsyncIterator[Probes]:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        probes = Probes(replicas, client)
        await probes.come_to("ready")
        yield probes


@contextmanager
def broker_away(platform: Platform) -> Iterator[None]:
    platform.broker.kill()
    try:
        yield
    finally:
        platform.broker.start()


@contextmanager
def database_away(platform: Platform) -> Iterator[None]:
    assert platform.postgres is not None
    platform.postgres.stop()
    try:
        yield
    finally:
        platform.postgres.start()


KEEP = tuple(service.name for service in read_services(find_workspace()) if service.has_database)


async def test_with_everything_there_all_are_live_started_and_ready(probes: Probes) -> None:
    for process in probes.platform.processes:
        assert await probes.ask(process, "/livez") == (200, {"status": "live"})
        assert await probes.ask(process, "/startupz") == (200, {"status": "started"})
        code, report = await probes.ask(process, "/readyz")
        keeps = process.service in KEEP
        expected = {
            "status": "ready",
            "dependencies": ({"database": "ok"} if keeps else {}) | {"broker": "ok"},
        }
        if keeps:
            expected["events"] = {
                "dead_letters": 0,
                "stopped_lanes": [],
                "refused_events": 0,
                "paused_types": [],
            }
        assert (code, report) == (200, expected)
    assert await probes.health() == {SERVING}


async def test_without_the_broker_all_are_degraded_and_go_on_answering(
    probes: Probes, replicated: Storefront
) -> None:
    sku = await replicated.product()
    with broker_away(probes.platform):
        await probes.come_to("degraded")

        for path in ("/livez", "/startupz", "/readyz"):
            assert await probes.statuses(path) == {200}
        _, report = await probes.ask(probes.platform.of("orders")[0], "/readyz")
        assert report["dependencies"] == {"database": "ok", "broker": "unavailable"}
        assert await probes.health() == {SERVING}
        order_id = await replicated.placed(sku)
        assert (await replicated.shown(order_id))["status"] == "pending"

    await probes.come_to("ready")
    await replicated.ended(order_id)
    await wait_ended(probes.platform)


async def test_without_its_database_a_service_is_live_and_unavailable(
    probes: Probes, replicated: Storefront
) -> None:
    sku = await replicated.product()
    with database_away(probes.platform):
        await probes.come_to("unavailable", *KEEP)

        assert await probes.statuses("/livez") == {200}
        assert await probes.statuses("/startupz") == {200}
        assert await probes.statuses("/readyz", *KEEP) == {503}
        without = {process.service for process in probes.platform.processes} - {*KEEP}
        assert await probes.statuses("/readyz", *without) == {200}
        assert await probes.health(*KEEP) == {NOT_SERVING}
        answer = await replicated.order(sku)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) >= 1

    await probes.come_to("ready")
    assert await probes.health() == {SERVING}
    await replicated.ended(await replicated.placed(sku))
    await wait_ended(probes.platform)


async def test_a_service_starts_without_the_broker_and_joins_in_when_it_comes(
    probes: Probes, replicated: Storefront
) -> None:
    inventory, payments = (probes.platform.of(name)[0] for name in ("inventory", "payments"))
    with broker_away(probes.platform):
        for process in (inventory, payments):
            await process.stop()
            process.start()
        for process in (inventory, payments):
            await process.wait_ready()

        await probes.come_to("degraded", "inventory", "payments")
        assert await probes.statuses("/startupz", "inventory", "payments") == {200}
        sku = await replicated.product()

    await probes.come_to("ready")
    assert (await replicated.ended(await replicated.placed(sku)))["status"] == "confirmed"


async def test_a_service_that_starts_without_its_database_waits_for_it(
    probes: Probes, replicated: Storefront
) -> None:
    (notifications,) = probes.platform.of("notifications")
    with database_away(probes.platform):
        await notifications.stop()
        notifications.start()

        async def waits() -> bool:
            try:
                code, _ = await probes.ask(notifications, "/livez")
            except httpx.ConnectError:
                return False
            return code == 200

        await eventually(waits, "notifications lives")
        code, report = await probes.ask(notifications, "/readyz")
        assert (code, report["status"]) == (503, "starting")
        assert await probes.ask(notifications, "/startupz") == (503, {"status": "starting"})

    await probes.come_to("ready")
    assert await probes.statuses("/startupz") == {200}
    await wait_ended(probes.platform)
