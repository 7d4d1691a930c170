"""An address that cannot be listened on: the error says why and what to do."""

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from books_rpc import Servers
from bookstore_process import BookstoreProcess
from http_app import make_app

from bookstore.v1 import GetBookRequest, GetBookResponse, SellBookRequest, SellBookResponse
from chassis import ServiceSettings
from chassis.http.server import HttpServer
from chassis.ports import HTTP, CannotListen, PortInUse, listen, listen_error

HAS_IPV6 = listen_error("::1", 0, HTTP) is None
IPV6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")

REFUSED = pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("203.0.113.7", "203.0.113.7 is not an address of this machine"),
        pytest.param("2001:db8::7", "2001:db8::7 is not an address of this machine", marks=IPV6),
        ("no.such.host.invalid", "'no.such.host.invalid' cannot be resolved"),
        ("x" * 100, "cannot be resolved"),
    ],
)


@REFUSED
async def test_http_names_the_reason_and_the_setting(host: str, reason: str) -> None:
    server = HttpServer(make_app(), ServiceSettings(http_host=host, http_port=0))
    with pytest.raises(CannotListen, match=f"{reason}.* set APP_HTTP_HOST") as refused:
        await server.start()
    assert refused.value.exit_code == 78


@REFUSED
async def test_grpc_names_the_reason_and_the_setting(rpc: Servers, host: str, reason: str) -> None:
    with pytest.raises(CannotListen, match=f"{reason}.* set APP_GRPC_HOST") as refused:
        await rpc.start(Books, settings=ServiceSettings(grpc_host=host, grpc_port=0))
    assert refused.value.exit_code == 78


class Books:
    async def sell_book(self, request: SellBookRequest) -> SellBookResponse:
        raise NotImplementedError

    async def get_book(self, request: GetBookRequest) -> GetBookResponse:
        raise NotImplementedError


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=IPV6)])
def test_a_port_in_use_is_an_error_that_a_restart_can_help(host: str) -> None:
    with listen(host, 0, HTTP, backlog=1) as taken:
        port = taken.getsockname()[1]
        reason = listen_error(host, port, HTTP)
        assert isinstance(reason, PortInUse)
        assert str(reason).startswith(f"port {port} on {host} is in use")
        assert reason.exit_code == 1
    assert listen_error(host, port, HTTP) is None


def test_a_low_port_needs_a_privilege() -> None:
    lowest = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not lowest.exists() or int(lowest.read_text(encoding="ascii")) <= 1:
        pytest.skip("this machine has no privileged ports")
    program = (
        "import os; from chassis.ports import HTTP, listen_error\n"
        # The first call imports modules that user 65534 may not be allowed to read.
        "listen_error('127.0.0.1', 0, HTTP)\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "print(listen_error('127.0.0.1', 1, HTTP))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    ).stdout
    assert said.startswith("this process may not listen on port 1 of 127.0.0.1: choose one from")
    assert "APP_HTTP_PORT" in said


@IPV6
async def test_an_ipv6_address_may_be_in_brackets(rpc: Servers) -> None:
    settings = ServiceSettings(http_host="[::1]", http_port=0, grpc_host="[::1]", grpc_port=0)
    assert (await rpc.start(Books, settings=settings)).port
    server = HttpServer(make_app(), settings)
    await server.start()
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://[::1]:{server.port}/livez")
    assert answer.status_code == 200
    await server.stop(0)


def test_a_host_name_is_listened_on_at_its_ipv4_address() -> None:
    with listen("localhost", 0, HTTP, backlog=1) as listener:
        assert listener.family is socket.AF_INET


async def test_a_service_that_cannot_listen_ends_with_one_line(tmp_path: Path) -> None:
    for protocol in ("http", "grpc"):
        bookstore = BookstoreProcess(tmp_path, **{f"{protocol}_host": "203.0.113.7"})
        with bookstore:
            assert await bookstore.wait_for_exit() == 78
        errors = [line["reason"] for line in bookstore.log_lines() if line.get("level") == "error"]
        bookstore.log.unlink()
        assert errors == [
            "203.0.113.7 is not an address of this machine: set "
            f"APP_{protocol.upper()}_HOST to one of its own, or 0.0.0.0 for all of them"
        ]
