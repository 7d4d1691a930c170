"""A real Envoy between callers and two versions: weights, headers, streams, deadlines, deaths."""

import json
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest

from devkit.local_canary import CanaryFiles
from devkit.local_canary.envoy_config import Front, envoy_config
from devkit.ports import ReplicaPorts, free_replica_ports
from localservers import EnvoyServer
from localservers.program import installed_program

pytestmark = pytest.mark.skipif(
    installed_program("envoy") is None, reason="Envoy is not installed: `make envoy`"
)

METHOD = "/stock.v1.StockService/Count"
SECONDS = 20.0


class Version:
    """A version of a service, which answers with its name."""

    def __init__(self, name: str, ports: ReplicaPorts) -> None:
        self.name = name
        self.ready = True
        self.finish = threading.Event()
        self.seconds_left: list[float] = []
        self.connections: list[socket.socket] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", ports.http), _handler(self))
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self._grpc = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        self._grpc.add_generic_rpc_handlers((_Methods(self),))
        self._grpc.add_insecure_port(f"127.0.0.1:{ports.grpc}")
        self._grpc.start()

    def die(self) -> None:
        self.finish.set()
        self._http.shutdown()
        self._http.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._grpc.stop(None).wait()


def _handler(version: Version) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            version.connections.append(self.connection)

        def do_GET(self) -> None:
            if self.path == "/readyz":
                self._answer(200 if version.ready else 503, b"")
            elif self.path == "/stream":
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                self.wfile.write(b"data: first\n\n")
                version.finish.wait(SECONDS)
                self.wfile.write(b"data: last\n\n")
                self.close_connection = True
            else:
                told = {"name": version.name, "headers": dict(self.headers)}
                self._answer(200, json.dumps(told).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


class _Methods(grpc.GenericRpcHandler):
    def __init__(self, version: Version) -> None:
        self._version = version

    def service(self, _: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._version.seconds_left.append(context.time_remaining())
        if request == b"wait":
            self._version.finish.wait(SECONDS)
        return self._version.name.encode()


class Shop:
    """Two versions of one service, and the Envoy before them."""

    def __init__(self, folder: Path, weight: int) -> None:
        self.ports = free_replica_ports()
        stable, canary = free_replica_ports(), free_replica_ports()
        self.stable, self._canary_ports = Version("stable", stable), canary
        self.canary = Version("canary", canary)
        self.files = CanaryFiles(
            "stock", str(folder / "weight"), str(folder), {"end-user": "jason"}
        )
        self.files.write(weight)
        front = Front("stock", self.ports, [stable], [canary])
        self.envoy = EnvoyServer(folder / "envoy", envoy_config([front], folder))
        self.envoy.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.ports.grpc}")
        self.call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(METHOD)

    def restart_canary(self) -> None:
        self.canary = Version("canary", self._canary_ports)

    def requests(self, count: int, headers: dict[str, str] | None = None) -> Counter[str]:
        connection = HTTPConnection("127.0.0.1", self.ports.http, timeout=SECONDS)
        found = Counter(self._get(connection, headers or {})["name"] for _ in range(count))
        connection.close()
        return found

    def calls(self, count: int, metadata: tuple[tuple[str, str], ...] = ()) -> Counter[str]:
        return Counter(
            self.call(b"", timeout=SECONDS, metadata=metadata).decode() for _ in range(count)
        )

    def until_all_are_found_ready(self) -> None:
        """Wait until each of Envoy's last checks has found a version ready."""
        eventually(lambda: self._ports_not_ready() == set())

    def until_the_canary_is_found_dead(self) -> None:
        """Wait until Envoy's last check of the canary has failed, for both protocols."""
        ports = {self._canary_ports.http, self._canary_ports.grpc}
        eventually(lambda: self._ports_not_ready() == ports)

    def _ports_not_ready(self) -> set[int]:
        """Return the ports of versions that Envoy has not checked, or has not found ready."""
        with urlopen(f"{self.envoy.url}/clusters?format=json", timeout=SECONDS) as answer:
            clusters = json.load(answer)["cluster_statuses"]
        return {
            host["address"]["socket_address"]["port_value"]
            for cluster in clusters
            for host in cluster["host_statuses"]
            if "failed_active_health_check" in host["health_status"]
        }

    def _get(self, connection: HTTPConnection, headers: dict[str, str]) -> dict[str, Any]:
        connection.request("GET", "/", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        told: dict[str, Any] = json.loads(answer.read())
        return told

    def headers_of_a_request(self, headers: dict[str, str]) -> dict[str, str]:
        connection = HTTPConnection("127.0.0.1", self.ports.http, timeout=SECONDS)
        told: dict[str, str] = self._get(connection, headers)["headers"]
        connection.close()
        return told

    def end(self) -> None:
        self.channel.close()
        self.envoy.kill()
        self.stable.die()
        self.canary.die()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path, weight=30)
    shop.until_all_are_found_ready()
    yield shop
    shop.end()


def assert_share(found: Counter[str], weight: int) -> None:
    """Assert that the canary got its share, within 4 standard deviations."""
    count = found.total()
    deviation = math.sqrt(count * weight / 100 * (1 - weight / 100))
    assert abs(found["canary"] - count * weight / 100) <= 4 * deviation, found


def test_requests_and_calls_are_split_by_the_weight_which_changes_while_envoy_runs(
    shop: Shop,
) -> None:
    assert_share(shop.requests(1500), 30)
    assert_share(shop.calls(1500), 30)

    shop.files.write(0)
    eventually(lambda: shop.requests(50) == {"stable": 50})
    eventually(lambda: shop.calls(50) == {"stable": 50})
    shop.files.write(100)
    eventually(lambda: shop.requests(50) == {"canary": 50})
    eventually(lambda: shop.calls(50) == {"canary": 50})


def test_a_header_selects_the_canary_whatever_the_weight(shop: Shop) -> None:
    shop.files.write(0)
    eventually(lambda: shop.requests(50, {"end-user": "anna"}) == {"stable": 50})
    assert shop.requests(50, {"end-user": "jason"}) == {"canary": 50}
    assert shop.calls(50, (("end-user", "jason"),)) == {"canary": 50}


def test_no_request_fails_while_the_canary_is_dead_and_it_gets_its_share_when_it_is_back(
    shop: Shop,
) -> None:
    shop.files.write(100)
    eventually(lambda: shop.calls(20) == {"canary": 20})
    shop.canary.die()

    assert shop.calls(200) == {"stable": 200}
    assert shop.requests(200) == {"stable": 200}

    shop.until_the_canary_is_found_dead()
    assert shop.calls(20) == {"stable": 20}
    assert shop.requests(20) == {"stable": 20}

    shop.restart_canary()
    shop.until_all_are_found_ready()
    assert shop.calls(20) == {"canary": 20}
    assert shop.requests(20) == {"canary": 20}


def test_a_canary_that_is_not_ready_gets_no_requests(shop: Shop) -> None:
    shop.files.write(100)
    eventually(lambda: shop.calls(20) == {"canary": 20})
    shop.canary.ready = False
    eventually(lambda: shop.calls(20) == {"stable": 20})
    eventually(lambda: shop.requests(20) == {"stable": 20})


def test_callers_of_a_dead_stable_version_learn_it_and_none_is_sent_to_the_canary(
    shop: Shop,
) -> None:
    shop.files.write(0)
    eventually(lambda: shop.calls(20) == {"stable": 20})
    shop.stable.die()
    with pytest.raises(grpc.RpcError) as raised:
        shop.calls(1)
    assert isinstance(raised.value, grpc.Call)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_stream_is_passed_on_as_it_comes(shop: Shop) -> None:
    with socket.create_connection(("127.0.0.1", shop.ports.http), timeout=SECONDS) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\nend-user: jason\r\n\r\n")
        lines = connection.makefile("rb")
        assert any(line == b"data: first\n" for line in lines)
        shop.canary.finish.set()
        assert any(line == b"data: last\n" for line in lines)


def test_a_deadline_is_passed_on_and_ends_the_call(shop: Shop) -> None:
    metadata = (("end-user", "jason"),)
    shop.call(b"", timeout=600, metadata=metadata)
    assert 500 < shop.canary.seconds_left[-1] < 601
    with pytest.raises(grpc.RpcError) as raised:
        shop.call(b"wait", timeout=0.2, metadata=metadata)
    assert isinstance(raised.value, grpc.Call)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_service_gets_the_headers_that_the_caller_sent(shop: Shop) -> None:
    sent = {"Host": "shop.example", "Accept-Encoding": "identity", "x-request-id": "mine"}
    found = {name.lower(): value for name, value in shop.headers_of_a_request(sent).items()}
    assert found == {name.lower(): value for name, value in sent.items()} | {
        "x-forwarded-proto": "http"
    }
