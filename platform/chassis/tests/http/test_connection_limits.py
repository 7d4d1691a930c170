"""The limits of a connection: endless requests are refused, silent connections are closed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import APIRouter, Request, Response
from http_app import make_app, serving
from raw_http import RawClient, connected, wait_for_connections

from chassis import ServiceSettings
from chassis.http import ServerSentEvent, event_stream

HOST = b"host: x\r\n"
GET = b"GET /books HTTP/1.1\r\n" + HOST
MIB = 1024 * 1024

router = APIRouter()


@router.get("/books")
async def books() -> str:
    return "books"


@router.post("/books")
async def add(request: Request) -> int:
    return len(await request.body())


@router.post("/unread")
async def unread() -> str:
    return "the body was not read"


@router.get("/long")
async def long() -> Response:
    return Response(b"x" * (32 * MIB))


class Stage:
    """Events by which a test and the routes wait for each other."""

    at_work = asyncio.Event()
    finish = asyncio.Event()
    closed = asyncio.Event()


@pytest.fixture(autouse=True)
def _new_stage() -> None:
    Stage.at_work, Stage.finish, Stage.closed = (asyncio.Event() for _ in range(3))


@router.get("/slow")
async def slow() -> str:
    Stage.at_work.set()
    await Stage.finish.wait()
    return "slow"


@router.get("/events")
async def events(request: Request) -> Response:
    async def forever() -> AsyncIterator[ServerSentEvent]:
        try:
            yield ServerSentEvent("first")
            await asyncio.Event().wait()
        finally:
            Stage.closed.set()

    return event_stream(request, forever(), heartbeat_seconds=0.1)


def settings(**changed: Any) -> ServiceSettings:
    return ServiceSettings(http_port=0, **changed)


def server(**changed: Any) -> Any:
    chosen = settings(**changed)
    return serving(make_app(router, settings=chosen), chosen)


@pytest.mark.parametrize(
    ("first", "piece", "status"),
    [
        (b"GET /", b"a" * 65536, 414),
        (b"GET /", b"a" * 100, 414),
        (GET + b"x-a: ", b"a" * 65536, 431),
        (GET + b"x-a: ", b"a" * 100, 431),
        (GET + b"x", b"-" * 65536, 431),
        (GET, b"x-a: 1\r\n" * 1000, 431),
        (GET, b"x-a: 1\r\n", 431),
        (b"", b"GET" * 1000, 400),
    ],
)
async def test_an_endless_head_is_refused(first: bytes, piece: bytes, status: int) -> None:
    async with server() as running, connected(running) as client:
        sending = asyncio.create_task(client.send_until_disconnected(first, piece, 64 * MIB))
        answer = await client.answer()
        assert answer.status == status
        assert answer.problem["detail"]
        assert answer.headers["connection"] == "close"
        # The limit is high, because bytes in the kernel's buffers count as sent.
        assert await sending < 16 * MIB
        await wait_for_connections(running, 0)


async def test_a_head_within_the_limits_is_accepted() -> None:
    async with server() as running, connected(running) as client:
        url = b"/books?" + b"a" * 8000
        headers = b"".join(b"x-%d: %s\r\n" % (n, b"b" * 200) for n in range(98))
        for _ in range(3):
            await client.send(b"GET " + url + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n")
            assert (await client.answer()).status == 200


async def test_more_headers_than_allowed_are_refused_however_small() -> None:
    async with server(http_max_headers=10) as running, connected(running) as client:
        for count, status in ((9, 200), (10, 431)):
            await client.send(GET + b"x-a: 1\r\n" * count + b"\r\n")
            assert (await client.answer()).status == status


async def test_a_large_body_does_not_count_as_a_large_head() -> None:
    async with server(http_max_head_bytes=1024) as running, connected(running) as client:
        body = b"a" * 1_000_000
        await client.send(
            b"POST /books HTTP/1.1\r\n" + HOST + b"content-length: %d\r\n\r\n" % len(body) + body
        )
        assert (await client.answer()).body == b"1000000"
        chunks = b"".join(b"%x\r\n%s\r\n" % (500, b"a" * 500) for _ in range(1000))
        await client.send(
            b"POST /books HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n" + chunks
        )
        await client.send(b"0\r\n\r\n")
        assert (await client.answer()).body == b"500000"


@pytest.mark.parametrize(
    "piece", [b"x-a: 1\r\n" * 1000, b"a" * 65536], ids=["many trailers", "one trailer"]
)
async def test_endless_trailers_are_refused(piece: bytes) -> None:
    async with server() as running, connected(running) as client:
        head = b"POST /books HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n0\r\n"
        assert await client.send_until_disconnected(head, piece, 64 * MIB) < 16 * MIB
        await wait_for_connections(running, 0)


@pytest.mark.parametrize(
    ("said", "statuses"),
    [
        (b"", []),
        (b"GET /boo", [408]),
        (GET + b"x-a: ", [408]),
        (b"POST /books HTTP/1.1\r\n" + HOST + b"content-length: 9\r\n\r\n{", [408]),
        (b"POST /unread HTTP/1.1\r\n" + HOST + b"content-length: 9\r\n\r\n{", [200]),
        (GET + b"\r\n", [200]),
        (GET + b"\r\nGET /boo", [200, 408]),
    ],
    ids=[
        "nothing",
        "half a request line",
        "half a header",
        "half a body",
        "half of a body that the route does not read",
        "a request, then nothing",
        "a request, then half a one",
    ],
)
async def test_a_silent_client_times_out(said: bytes, statuses: list[int]) -> None:
    times = dict.fromkeys(
        ("http_head_timeout_seconds", "http_body_timeout_seconds", "http_idle_timeout_seconds"),
        0.2,
    )
    async with server(**times) as running, connected(running) as client:
        await client.send(said)
        for status in statuses:
            answer = await client.answer()
            assert answer.status == status
            if status == 408:
                assert "took" in answer.problem["detail"]
        assert await client.read_until_closed() == b""
        await wait_for_connections(running, 0)


@pytest.mark.parametrize(
    "said",
    [
        GET + b"x-a: ",
        b"POST /books HTTP/1.1\r\n" + HOST + b"content-length: 9999\r\n\r\n",
        b"POST /unread HTTP/1.1\r\n" + HOST + b"content-length: 9999\r\n\r\n",
    ],
    ids=["a header", "a body", "a body that the route does not read"],
)
async def test_slow_bytes_do_not_extend_a_timeout(said: bytes) -> None:
    times = {"http_head_timeout_seconds": 0.5, "http_body_timeout_seconds": 0.5}
    async with server(**times) as running, connected(running) as client:
        await client.send(said)
        dripping = asyncio.create_task(client.drip(b"a" * 9000, 0.01))
        await client.read_until_closed()
        await wait_for_connections(running, 0)
        dripping.cancel()


async def test_an_idle_client_stays_connected_between_requests() -> None:
    async with server(http_head_timeout_seconds=0.3) as running, connected(running) as client:
        for _ in range(3):
            await client.send(GET + b"\r\n")
            assert (await client.answer()).status == 200
            await asyncio.sleep(0.4)


async def test_a_client_that_does_not_read_its_response_is_disconnected() -> None:
    async with server(http_send_timeout_seconds=0.3) as running, connected(running) as client:
        await client.send(b"GET /long HTTP/1.1\r\n" + HOST + b"\r\n")
        await wait_for_connections(running, 1)
        await wait_for_connections(running, 0)
        assert len(await client.read_until_closed()) < 32 * MIB


async def test_a_connection_above_the_limit_replaces_the_one_idle_longest() -> None:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(server(http_max_connections=3))
        first, second, third = [
            await stack.enter_async_context(connected(running)) for _ in range(3)
        ]
        for client in (first, second, third, first):
            await _ask(client)
        late = await stack.enter_async_context(connected(running))
        assert await second.read_until_closed() == b""
        for client in (late, first, third):
            await _ask(client)


async def _ask(client: RawClient) -> None:
    await client.send(GET + b"\r\n")
    assert (await client.answer()).status == 200


async def test_a_connection_above_the_limit_is_refused_if_none_is_idle() -> None:
    async with server(http_max_connections=1) as running, connected(running) as client:
        await client.send(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
        await asyncio.wait_for(Stage.at_work.wait(), 60)
        async with connected(running) as late:
            answer = await late.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.problem["detail"] == "too many connections"
            assert await late.read_until_closed() == b""
        Stage.finish.set()
        assert (await client.answer()).body == b'"slow"'


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with server() as running, connected(running) as client:
        await client.send(
            GET + b"\r\n" + b"POST /books HTTP/1.1\r\n" + HOST + b"content-length: 3\r\n\r\nabc"
            b"GET /none HTTP/1.1\r\n" + HOST + b"\r\n" + GET + b"\r\n"
        )
        answers = [await client.answer() for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 404, 200]
        assert answers[1].body == b"3"


@pytest.mark.parametrize("path", [b"/slow", b"/events"])
async def test_a_client_that_pipelines_endless_requests_is_disconnected(path: bytes) -> None:
    async with server() as running, connected(running) as client:
        first = b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n"
        sent = await client.send_until_disconnected(first, (GET + b"\r\n") * 100, 16 * MIB)
        assert sent < 8 * MIB
        await wait_for_connections(running, 0)


async def test_an_event_stream_with_a_pipelined_request_ends_with_its_client() -> None:
    async with server() as running, connected(running) as client:
        await client.send(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.answer()).status == 200
        await client.send(GET + b"\r\n")
        await asyncio.sleep(0.05)
        client.close()
        await asyncio.wait_for(Stage.closed.wait(), 60)


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_an_upgrade_request_is_answered_over_http_1_1(protocol: str) -> None:
    async with server() as running, connected(running) as client:
        await client.send(
            GET + f"connection: upgrade\r\nupgrade: {protocol}\r\n\r\n".encode() + b"\x00\x01"
        )
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.read_until_closed() == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET books HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nx y\r\n\r\n",
    ],
)
async def test_invalid_requests_are_answered_with_a_problem(garbage: bytes) -> None:
    async with server() as running, connected(running) as client:
        await client.send(garbage)
        answer = await client.answer()
        assert answer.problem["title"] == "Bad Request"
        assert await client.read_until_closed() == b""
