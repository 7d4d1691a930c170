"""Server-sent events: heartbeats, the end of a stream, and disconnected clients."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, FastAPI, Request, Response
from http_app import client_for, make_app, reading, reading_from, serving
from structlog.testing import capture_logs

from chassis import ServiceSettings, deadline
from chassis.http import ServerSentEvent, event_stream


class Stream:
    """An application with a stream whose events a test puts into `feed`."""

    def __init__(self, **options: float) -> None:
        self.feed: asyncio.Queue[ServerSentEvent | Exception | None] = asyncio.Queue()
        self.closed = asyncio.Event()
        router = APIRouter()

        @router.get("/events")
        async def events(request: Request) -> Response:
            return event_stream(request, self._events(), **options)

        self.app: FastAPI = make_app(router)

    async def _events(self) -> AsyncIterator[ServerSentEvent]:
        try:
            while (event := await self.feed.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed.set()


async def test_events_have_the_format_of_the_standard() -> None:
    stream = Stream()
    stream.feed.put_nowait(ServerSentEvent("first\nline", id="1", event="sold"))
    stream.feed.put_nowait(ServerSentEvent("second"))
    stream.feed.put_nowait(ServerSentEvent("", id="a\nb"))
    stream.feed.put_nowait(None)
    async with client_for(stream.app) as http:
        answer = await http.get("/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text == (
        "id: 1\nevent: sold\ndata: first\ndata: line\n\ndata: second\n\nid: a b\ndata: \n\n"
    )


def test_only_the_line_ends_of_the_standard_end_a_line() -> None:
    data = "a\u2028b\x85c\x0bd\re\r\nf\n"
    encoded = ServerSentEvent(data).encoded().decode()
    assert encoded == "data: a\u2028b\x85c\x0bd\ndata: e\ndata: f\ndata: \n\n"


async def test_an_event_is_sent_at_once() -> None:
    stream = Stream()
    async with reading(stream.app) as (_, lines):
        for number in range(3):
            stream.feed.put_nowait(ServerSentEvent(str(number)))
            assert await asyncio.wait_for(anext(lines), 60) == f"data: {number}"
            assert await anext(lines) == ""


async def test_a_quiet_stream_is_kept_open_by_comments() -> None:
    stream = Stream(heartbeat_seconds=0.1)
    async with reading(stream.app) as (_, lines):
        for _ in range(2):
            assert (await asyncio.wait_for(anext(lines), 60)).startswith(":")
            assert await anext(lines) == ""
        stream.feed.put_nowait(ServerSentEvent("after the comments"))
        seen = [await anext(lines) for _ in range(3)]
        assert "data: after the comments" in seen


async def test_a_stream_ends_with_a_hint_to_reconnect_when_the_service_stops() -> None:
    stream = Stream(retry_seconds=0.5)
    stream.feed.put_nowait(ServerSentEvent("sold"))
    async with reading(stream.app) as (server, lines):
        assert await anext(lines) == "data: sold"
        stream.app.state.closing.set()
        await asyncio.wait_for(server.stop(600), 60)
        assert [line async for line in lines] == ["", "retry: 500", ""]
    assert stream.closed.is_set()


async def test_an_endless_stream_ends_when_the_service_stops() -> None:
    router = APIRouter()

    async def endless() -> AsyncIterator[ServerSentEvent]:
        while True:
            yield ServerSentEvent("more")
            await asyncio.sleep(0)

    @router.get("/events")
    async def events(request: Request) -> Response:
        return event_stream(request, endless())

    app = make_app(router)
    async with reading(app) as (_, lines):
        assert await anext(lines) == "data: more"
        app.state.closing.set()
        rest = await asyncio.wait_for(_all(lines), 60)
    assert rest[-2:] == ["retry: 1000", ""]


async def _all(lines: AsyncIterator[str]) -> list[str]:
    return [line async for line in lines]


async def test_the_events_are_closed_when_the_client_disconnects() -> None:
    stream = Stream()
    stream.feed.put_nowait(ServerSentEvent("sold"))
    async with serving(stream.app) as server:
        async with reading_from(server) as lines:
            assert await anext(lines) == "data: sold"
        await asyncio.wait_for(stream.closed.wait(), 60)


async def test_events_that_fail_end_the_stream_with_a_hint_and_without_the_error() -> None:
    stream = Stream()
    stream.feed.put_nowait(ServerSentEvent("sold"))
    stream.feed.put_nowait(RuntimeError("s3cret"))
    async with client_for(stream.app) as http:
        with capture_logs() as lines:
            answer = await http.get("/events")
    assert answer.text == "data: sold\n\nretry: 1000\n\n"
    assert any(line["log_level"] == "error" for line in lines)


async def test_a_stream_may_call_other_services_for_longer_than_a_request_may() -> None:
    router = APIRouter()
    left: list[float | None] = []

    async def watching() -> AsyncIterator[ServerSentEvent]:
        left.append(deadline.remaining())
        yield ServerSentEvent("x")

    @router.get("/events")
    async def events(request: Request) -> Response:
        left.append(deadline.remaining())
        return event_stream(request, watching())

    async with client_for(
        make_app(router, settings=ServiceSettings(request_timeout_seconds=1000))
    ) as http:
        await http.get("/events")
    assert left[0] is not None
    assert 500 < left[0] <= 1000
    assert left[1] is None
