import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localservers import EnvoyServer, PortInUse, ServerFailed, free_port
from localservers.program import installed_program

needs_envoy = pytest.mark.skipif(
    installed_program("envoy") is None, reason="Envoy is not installed: `make envoy`"
)


def answering(port: int, answer: str = "hello") -> dict[str, Any]:
    """Return the configuration of an Envoy that gives every request the same answer."""
    extensions = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": _text(answer)}}
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "hello",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{extensions}.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "enable_reuse_port": False,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    return {"static_resources": {"listeners": [listener]}}


def _text(text: str) -> dict[str, str]:
    return {"inline_string": text}


def get(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return connection.makefile("rb").read()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[EnvoyServer]:
    server = EnvoyServer(tmp_path / "envoy", answering(port))
    yield server
    server.kill()


@needs_envoy
def test_it_answers_as_soon_as_it_has_started(server: EnvoyServer, port: int) -> None:
    server.start()
    assert get(port).endswith(b"hello")


@needs_envoy
def test_it_answers_on_the_same_ports_after_a_kill(server: EnvoyServer, port: int) -> None:
    server.start()
    url, killed = server.url, server.pid
    server.kill()
    assert not server.running
    server.start()
    assert (get(port).endswith(b"hello"), server.url) == (True, url)
    assert server.pid != killed


@needs_envoy
def test_it_stops(server: EnvoyServer) -> None:
    server.start()
    server.stop()
    assert not server.running


@needs_envoy
def test_a_wrong_configuration_is_told_in_its_words(tmp_path: Path) -> None:
    server = EnvoyServer(tmp_path, {"static_resources": {"listener": []}})
    with pytest.raises(ServerFailed, match=r"ended during its start(.|\n)*no\s+such\s+field"):
        server.start()


@needs_envoy
def test_a_port_in_use_is_told(server: EnvoyServer, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortInUse, match=f":{port}"):
        server.start()


def test_a_missing_envoy_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerFailed, match="run `make envoy`"):
        EnvoyServer(tmp_path, {}).start()


@needs_envoy
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal is Linux's")
def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time; from localservers import EnvoyServer;"
        "server = EnvoyServer(pathlib.Path(sys.argv[1]), {}); server.start();"
        "print(server.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert os.path.exists(f"/proc/{pid}")
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline, "Envoy outlived its parent"
        time.sleep(0.01)
