"""Probes: a live service may be unready, and is unready only if requests would fail."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from fastapi import APIRouter
from http_app import client_for, make_app

from chassis.database import Database
from chassis.events.producer.event_factory import EventFactory
from chassis.readiness import Readiness
from localservers import PostgresServer


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest_asyncio.fixture
async def http(readiness: Readiness) -> AsyncIterator[httpx.AsyncClient]:
    async with client_for(make_app(readiness=readiness)) as client:
        yield client


async def probe_codes(http: httpx.AsyncClient) -> tuple[int, int, int]:
    """Return the status codes of /livez, /startupz and /readyz."""
    probes = [await http.get(path) for path in ("/livez", "/startupz", "/readyz")]
    return probes[0].status_code, probes[1].status_code, probes[2].status_code


async def test_a_service_that_starts_is_live_and_neither_started_nor_ready(
    http: httpx.AsyncClient,
) -> None:
    assert await probe_codes(http) == (200, 503, 503)
    assert (await http.get("/readyz")).json()["status"] == "starting"


async def test_a_service_that_has_started_is_ready(
    http: httpx.AsyncClient, readiness: Readiness
) -> None:
    await readiness.begin()
    assert await probe_codes(http) == (200, 200, 200)
    assert (await http.get("/readyz")).json() == {"status": "ready", "dependencies": {}}


async def test_without_the_broker_a_service_is_degraded_and_ready(
    http: httpx.AsyncClient, readiness: Readiness
) -> None:
    readiness.depend_on(None, lambda: {"broker": "unavailable"})
    await readiness.begin()
    assert await probe_codes(http) == (200, 200, 200)
    assert (await http.get("/readyz")).json() == {
        "status": "degraded",
        "dependencies": {"broker": "unavailable"},
    }


async def test_the_end_of_the_start_checks_the_dependencies_again(
    http: httpx.AsyncClient, readiness: Readiness
) -> None:
    states = {"broker": "unavailable"}
    readiness.depend_on(None, lambda: states)
    assert (await http.get("/readyz")).json()["dependencies"] == {"broker": "unavailable"}
    states["broker"] = "ok"
    await readiness.begin()
    assert (await http.get("/readyz")).json()["status"] == "ready"


async def test_a_service_that_drains_is_live_and_not_ready(
    http: httpx.AsyncClient, readiness: Readiness
) -> None:
    readiness.started = readiness.draining = True
    assert await probe_codes(http) == (200, 200, 503)
    assert (await http.get("/readyz")).json()["status"] == "draining"


async def test_without_its_database_a_service_is_live_and_not_ready(
    http: httpx.AsyncClient, readiness: Readiness, own_postgres: PostgresServer
) -> None:
    database = Database(own_postgres.url(), EventFactory("bookshop"))
    readiness.depend_on(database, lambda: {"broker": "ok"})
    await readiness.begin()
    await wait_for_codes(http, (200, 200, 200))

    own_postgres.kill()
    await wait_for_codes(http, (200, 200, 503))
    answer = await http.get("/readyz")
    assert answer.json()["status"] == "unavailable"
    assert "refused" in answer.json()["dependencies"]["database"]
    assert answer.headers["retry-after"] == "1"

    own_postgres.start()
    await wait_for_codes(http, (200, 200, 200))

    # A database that hangs is unavailable too.
    own_postgres.pause()
    await wait_for_codes(http, (200, 200, 503))
    assert (await http.get("/readyz")).json()["status"] == "unavailable"
    own_postgres.resume()
    await asyncio.to_thread(database.close)


async def wait_for_codes(http: httpx.AsyncClient, expected: tuple[int, int, int]) -> None:
    """Wait until the probes answer with these codes; a check's result is kept for a moment."""
    async with asyncio.timeout(60):
        while await probe_codes(http) != expected:
            await asyncio.sleep(0.05)


async def test_a_change_is_announced_once(readiness: Readiness) -> None:
    announced: list[bool] = []

    async def tell(ready: bool) -> None:
        announced.append(ready)

    looks: asyncio.Queue[None] = asyncio.Queue()

    def look() -> dict[str, str]:
        looks.put_nowait(None)
        return {}

    readiness.on_change(tell)
    readiness.depend_on(None, look)
    await readiness.begin()
    watch = asyncio.create_task(readiness.watch(0.01))
    for _ in range(3):
        await looks.get()
    watch.cancel()
    readiness.draining = True
    for _ in range(3):
        await readiness.announce()
    assert announced == [True, False]


async def test_only_a_service_with_routes_of_its_own_documents_them() -> None:
    router = APIRouter()

    @router.get("/books")
    async def books() -> list[str]:
        return []

    async with client_for(make_app(router)) as http:
        assert (await http.get("/docs")).status_code == 200
        paths = (await http.get("/openapi.json")).json()["paths"]
        assert list(paths) == ["/books"]
    async with client_for(make_app()) as http:
        assert (await http.get("/docs")).status_code == 404
        assert (await http.get("/openapi.json")).status_code == 404


async def test_requests_are_counted_and_timed_by_route_except_for_probes() -> None:
    router, shelves = APIRouter(prefix="/books"), APIRouter()

    @shelves.get("/shelves/{number}")
    async def shelf(number: int) -> int:
        return number

    router.include_router(shelves)
    async with client_for(make_app(router)) as http:
        for path in (
            "/books/shelves/1",
            "/books/shelves/2",
            "/books/shelves/x",
            "/livez",
            "/nowhere",
        ):
            await http.get(path)
        metrics = (await http.get("/metrics")).text
    counted = 'http_requests_total{handler="/books/shelves/{number}",method="GET",status="200"} 2.0'
    assert counted in metrics
    assert 'handler="/books/shelves/{number}",method="GET",status="422"} 1.0' in metrics
    assert 'http_request_duration_seconds_count{handler="/books/shelves/{number}"' in metrics
    assert "/livez" not in metrics
    assert "/nowhere" not in metrics, (
        "unknown paths must share a series, otherwise clients could add series without limit"
    )


async def test_metrics_show_a_services_own_metrics() -> None:
    from prometheus_client import Counter

    Counter("books_wrapped_total", "Books wrapped.").inc(3)
    async with client_for(make_app()) as http:
        assert "books_wrapped_total 3.0" in (await http.get("/metrics")).text
