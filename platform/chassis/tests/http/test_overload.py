"""Overload: accepted requests are answered, excess requests are refused at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from http_app import client_for, make_app, serving
from prometheus_client import REGISTRY

from chassis import Overloaded, ServiceSettings, deadline
from chassis.admission import Admission
from chassis.http import ServerSentEvent, event_stream

AT_WORK, WAITING = 3, 2


class Shop:
    """An application whose requests end when a test sets `finish`."""

    def __init__(self, **limits: float) -> None:
        self.at_work = 0
        self.most_at_work = 0
        self.finish = asyncio.Event()
        self.streams_closed = 0
        router = APIRouter()
        router.post("/orders")(self._order)
        router.get("/events")(self._follow)
        defaults = {"http_max_requests": AT_WORK, "http_max_waiting": WAITING}
        self.settings = ServiceSettings(http_port=0, **(defaults | limits))  # type: ignore[arg-type]
        self.app: FastAPI = make_app(router, settings=self.settings)

    async def _order(self, request: Request) -> str:
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        await self.finish.wait()
        self.at_work -= 1
        return "ordered"

    async def _follow(self, request: Request) -> Response:
        async def events() -> AsyncIterator[ServerSentEvent]:
            try:
                yield ServerSentEvent("first")
                await self.finish.wait()
            finally:
                self.streams_closed += 1

        return event_stream(request, events())


def refused_count(what: str) -> float:
    return REGISTRY.get_sample_value("requests_refused_total", {"what": what}) or 0


async def wait_until_at_work(shop: Shop, count: int) -> None:
    async with asyncio.timeout(60):
        while shop.at_work < count:
            await asyncio.sleep(0.01)


async def test_under_four_times_the_load_accepted_requests_finish_and_others_get_503() -> None:
    shop, before = Shop(), refused_count("HTTP requests")
    capacity = AT_WORK + WAITING
    async with serving(shop.app, shop.settings) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            placed = [asyncio.create_task(client.post("/orders")) for _ in range(4 * capacity)]
            done: set[asyncio.Task[httpx.Response]] = set()
            while len(done) < 3 * capacity:
                more, _ = await asyncio.wait(
                    set(placed) - done, timeout=60, return_when=asyncio.FIRST_COMPLETED
                )
                assert more, "refused requests are answered while the accepted ones run"
                done |= more
            for task in done:
                answer = task.result()
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "1"
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["title"] == "Too many requests at once"
            for path in ("/livez", "/metrics"):
                assert (await client.get(path)).status_code == 200, "probes are exempt"
            assert (await client.get("/readyz")).json()["status"] == "starting"
            shop.finish.set()
            answers = await asyncio.gather(*placed)
    assert Counter(answer.status_code for answer in answers) == {200: capacity, 503: 3 * capacity}
    assert shop.most_at_work == AT_WORK
    assert refused_count("HTTP requests") - before == 3 * capacity


async def test_a_place_is_free_again_after_each_request_however_it_ended() -> None:
    shop = Shop(http_max_requests=1, http_max_waiting=0, request_max_bytes=10)
    router = APIRouter()

    @router.post("/fails")
    async def fails() -> None:
        raise RuntimeError

    @router.post("/reads")
    async def reads(request: Request) -> int:
        return len(await request.body())

    shop.app.include_router(router)

    shop.finish.set()
    async with client_for(shop.app) as client:
        for _ in range(2):
            assert (await client.post("/fails")).status_code == 500
            assert (await client.post("/reads", content=b"a" * 11)).status_code == 413
            assert (await client.post("/none")).status_code == 404
            assert (await client.post("/orders")).status_code == 200


async def test_a_request_that_waits_longer_than_its_deadline_is_refused() -> None:
    shop = Shop(request_timeout_seconds=0.1)
    async with client_for(shop.app) as client:
        working = [asyncio.create_task(client.post("/orders")) for _ in range(AT_WORK)]
        await wait_until_at_work(shop, AT_WORK)
        assert (await client.post("/orders")).status_code == 503
        shop.finish.set()
        assert {answer.status_code for answer in await asyncio.gather(*working)} == {200}
        assert (await client.post("/orders")).status_code == 200


async def test_event_streams_have_a_limit_of_their_own() -> None:
    shop, before = Shop(http_max_event_streams=2 * AT_WORK), refused_count("event streams")
    async with client_for(shop.app) as client:
        following = [asyncio.create_task(client.get("/events")) for _ in range(2 * AT_WORK)]
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            while (answer := await client.get("/events")).status_code != 503:
                await asyncio.sleep(0.01)
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["detail"].startswith("too many event streams")
        assert refused_count("event streams") - before == 1
        ordering = [asyncio.create_task(client.post("/orders")) for _ in range(AT_WORK)]
        await wait_until_at_work(shop, AT_WORK)
        shop.finish.set()
        answers = await asyncio.gather(*following, *ordering)
        assert {answer.status_code for answer in answers} == {200}
        # The streams that ended have freed their places.
        for _ in range(2 * AT_WORK + 1):
            assert (await client.get("/events")).status_code == 200


async def test_places_are_given_in_the_order_of_arrival() -> None:
    admission = Admission("things", 1, 3)
    await admission.enter()
    came: list[int] = []

    async def visit(number: int) -> None:
        await admission.enter()
        came.append(number)
        admission.leave()

    visits = [asyncio.create_task(visit(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert admission.waiting == 3
    with pytest.raises(Overloaded, match="too many things at once"):
        await admission.enter()
    admission.leave()
    await asyncio.gather(*visits)
    assert came == [0, 1, 2]
    assert admission.waiting == 0


async def test_a_cancelled_request_passes_its_place_on() -> None:
    admission = Admission("things", 1, 3)
    await admission.enter()
    first, second = (asyncio.create_task(admission.enter()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    assert admission.waiting == 1
    # The second request gets its place and is cancelled before it runs.
    third = asyncio.create_task(admission.enter())
    await asyncio.sleep(0)
    admission.leave()
    second.cancel()
    await asyncio.wait({second})
    await asyncio.wait_for(third, 60)
    admission.leave()
    deadline.begin(0.01)
    await admission.enter()
    with pytest.raises(Overloaded):
        await admission.enter()
    assert admission.waiting == 0
