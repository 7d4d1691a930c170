"""The HTTP server: its port, and a stop that interrupts no request."""

import asyncio
import socket
from collections import Counter

import httpx
import pytest
from fastapi import APIRouter
from http_app import make_app, serving

from chassis import ServiceSettings
from chassis.http.server import HttpServer
from chassis.ports import PortInUse
from chassis.readiness import Readiness

router = APIRouter()


@router.get("/book")
async def book() -> str:
    await asyncio.sleep(0.005)
    return "x" * 1000


class Slow:
    asked = asyncio.Event()
    finish = asyncio.Event()


@pytest.fixture(autouse=True)
def _unfinished() -> None:
    Slow.asked, Slow.finish = asyncio.Event(), asyncio.Event()


@router.get("/slow")
async def slow() -> str:
    Slow.asked.set()
    await Slow.finish.wait()
    return "done"


async def test_a_port_in_use_is_an_error_that_names_its_variable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = HttpServer(make_app(), ServiceSettings(http_port=port))
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1.*APP_HTTP_PORT"):
            await server.start()


async def test_a_port_with_connections_in_time_wait_is_free() -> None:
    async with serving(make_app(router)) as first:
        async with httpx.AsyncClient() as client:
            await client.get(f"http://127.0.0.1:{first.port}/book")
            await first.stop(1)
        again = HttpServer(make_app(router), ServiceSettings(http_port=first.port))
        await again.start()
        await again.stop(0)


async def test_a_running_request_is_answered_before_the_server_ends() -> None:
    async with serving(make_app(router)) as server, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{server.port}/slow"
        asked = asyncio.create_task(client.get(url, timeout=60))
        await Slow.asked.wait()
        silent, writer = await asyncio.open_connection("127.0.0.1", server.port)
        stopping = asyncio.create_task(server.stop(600))
        assert await silent.read() == b"", "the server accepts no more requests"
        writer.close()
        assert not stopping.done()
        Slow.finish.set()
        await asyncio.wait_for(stopping, 60)
        answer = await asked
        assert answer.json() == "done"
        assert answer.headers["connection"] == "close"


async def test_a_slow_request_does_not_delay_the_stop() -> None:
    async with serving(make_app(router)) as server, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{server.port}/slow"
        asked = asyncio.create_task(client.get(url, timeout=60))
        await Slow.asked.wait()
        await asyncio.wait_for(server.stop(0.1), 60)
        assert not Slow.finish.is_set()
        asked.cancel()


async def test_a_connection_that_is_not_accepted_yet_is_answered() -> None:
    async with serving(make_app(router)) as server:
        # The socket is blocking, so that the event loop cannot accept it before the server stops.
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /book HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            await server.stop(5)
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")


async def test_silent_connections_are_closed() -> None:
    async with serving(make_app(router)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.wait_for(server.stop(600), 60)
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("while_draining", [0, 100])
async def test_clients_under_load_on_open_connections_are_all_answered(
    while_draining: int,
) -> None:
    readiness = Readiness()
    readiness.started = True
    outcomes: Counter[str] = Counter()
    # The time to linger is long, because clients may be slow on a busy machine.
    async with serving(make_app(router, readiness=readiness), linger_seconds=30) as server:
        load = [asyncio.create_task(_send_requests(server.port, outcomes)) for _ in range(24)]
        await _wait_for_answers(outcomes, 100)
        readiness.draining = True
        await _wait_for_answers(outcomes, outcomes["answered"] + while_draining)
        await server.stop(60)
        await asyncio.gather(*load)
    assert outcomes["refused"] == 24, "each client ends when its connection is refused"
    assert set(outcomes) == {"answered", "refused"}, "and none because it was disconnected"


async def _wait_for_answers(outcomes: Counter[str], answered: int) -> None:
    async with asyncio.timeout(60):
        while outcomes["answered"] < answered:
            await asyncio.sleep(0.01)


async def _send_requests(port: int, outcomes: Counter[str]) -> None:
    """Send requests over one connection, and reconnect when a response closes it."""
    request = b"GET /book HTTP/1.1\r\nhost: x\r\n\r\n"
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            outcomes["refused"] += 1
            return
        try:
            stays = True
            while stays:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(1002)
                assert head.startswith(b"HTTP/1.1 200 ")
                stays = b"connection: close" not in head.lower()
                outcomes["answered"] += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            outcomes["disconnected"] += 1
        finally:
            writer.close()


async def test_the_date_of_a_response_is_that_of_its_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(make_app(router)) as server, httpx.AsyncClient() as client:
        for now, date in (
            (1_000_000_000, "Sun, 09 Sep 2001 01:46:40 GMT"),
            (1_000_000_061, "Sun, 09 Sep 2001 01:47:41 GMT"),
        ):
            monkeypatch.setattr("chassis.http.server.time.time", lambda now=now: now + 0.9)
            response = await client.get(f"http://127.0.0.1:{server.port}/book")
            assert response.headers.get_list("date") == [date]
