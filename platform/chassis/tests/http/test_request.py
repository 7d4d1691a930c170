"""The context of each request: a deadline, its trace, a log line."""

import httpx
import pytest
from fastapi import APIRouter
from http_app import client_for, make_app
from structlog.testing import capture_logs

from chassis import ServiceSettings, deadline
from chassis.telemetry import trace_context

pytestmark = pytest.mark.unit

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
router = APIRouter()


@router.get("/seconds")
async def seconds() -> float | None:
    return deadline.remaining()


@router.get("/seconds-on-a-thread")
def seconds_on_a_thread() -> float | None:
    return deadline.remaining()


@router.get("/trace")
async def trace() -> tuple[str | None, str | None]:
    return trace_context.current_trace()


async def test_a_request_has_a_deadline_for_its_calls() -> None:
    async with client_for(
        make_app(router, settings=ServiceSettings(request_timeout_seconds=1000))
    ) as http:
        for path in ("/seconds", "/seconds-on-a-thread"):
            assert 500 < (await http.get(path)).json() <= 1000


async def test_an_incoming_trace_context_is_kept_without_recording() -> None:
    async with client_for(make_app(router)) as http:
        headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
        assert (await http.get("/trace", headers=headers)).json() == [TRACEPARENT, "vendor=1"]


async def test_without_a_header_and_a_backend_there_is_no_trace() -> None:
    async with client_for(make_app(router)) as http:
        assert (await http.get("/trace")).json() == [None, None]
        headers = {"traceparent": "garbage"}
        assert (await http.get("/trace", headers=headers)).json() == [None, None]


async def logged(http: httpx.AsyncClient, path: str) -> list[str]:
    with capture_logs() as lines:
        await http.get(path)
    return [
        f"{line['method']} {line['path']} {line['status']}"
        for line in lines
        if line["event"] == "request ended"
    ]


async def test_each_request_is_logged_except_for_probes() -> None:
    async with client_for(make_app(router)) as http:
        assert await logged(http, "/seconds?secret=1") == ["GET /seconds 200"]
        assert await logged(http, "/nowhere") == ["GET /nowhere 404"]
        assert await logged(http, "/a%0Aline") == ["GET /a%0Aline 404"]
        assert await logged(http, "/livez") == []
