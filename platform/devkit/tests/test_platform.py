"""The platform on real processes: a real broker and minimal services."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import LiteralString

import psutil
import psycopg
import pytest

from devkit.errors import DevkitError
from devkit.platform import Platform
from devkit.service_process import ServiceProcess
from devkit.state import read_state
from devkit.workspace import Workspace
from localservers import free_port

Write = Callable[[str, str], Path]
WriteService = Callable[..., None]

DATABASE = 'database_url: SecretStr = SecretStr("sqlite:///x.db")\n'


@pytest.fixture
def names() -> tuple[str, str]:
    """New service names for each test, because settings modules stay imported."""
    unique = free_port()
    return f"desk{unique}", f"stock{unique}"


@pytest.fixture
def services(
    workspace: Workspace, write: Write, write_service: WriteService, names: tuple[str, str]
) -> Workspace:
    """A workspace of two services: `desk` calls `stock`."""
    desk, stock = names
    write(
        "pyproject.toml",
        f'[tool.uv.workspace]\nmembers = ["platform/*", "services/{desk}", "services/{stock}"]\n',
    )
    stock_grpc = free_port()
    targets = json.dumps({stock: f"ipv4:127.0.0.1:{stock_grpc}"})
    write_service(desk, http=free_port(), settings=f"targets: dict[str, str] = {targets}")
    write_service(stock, http=free_port(), settings=f"{DATABASE}grpc_port: int = {stock_grpc}")
    return Workspace(workspace.root)


@pytest.fixture
def defaults(services: Workspace, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The default options, with the two services."""
    sources = os.pathsep.join(str(member.source_root) for member in services.services)
    monkeypatch.setenv("PYTHONPATH", sources)
    return {
        "data": services.root / ".slipway",
        "workspace": services,
        "ports": {"nats": free_port()},
    }


def told(platform: Platform, service: str, replica: int = 0) -> dict[str, str]:
    """Return the APP_ variables with which a replica was started."""
    line = next(
        line for line in platform.of(service)[replica].lines() if line.startswith("starting")
    )
    content: dict[str, str] = json.loads(line.removeprefix("starting "))
    return content


async def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_every_service_is_started_on_its_own_ports_and_becomes_ready(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    desk, stock = names
    platform = run()
    await platform.start()

    await platform.wait_ready(60)

    assert {process.service for process in platform.processes} == set(names)
    variables = told(platform, stock)
    assert variables["APP_NATS_URL"] == platform.broker.url
    assert variables["APP_HTTP_PORT"] == platform.url(stock).rsplit(":", 1)[1]
    assert variables["APP_DATABASE_URL"].endswith(f"/.slipway/data/{stock}.db")
    assert "APP_DATABASE_URL" not in told(platform, desk)


async def test_all_replicas_of_a_called_service_are_its_target(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    desk, stock = names
    platform = run(replicas={stock: 3}, free_ports=True, ports={})
    await platform.start()
    await platform.wait_ready(60)

    addresses = [process.grpc_address for process in platform.of(stock)]
    assert len(set(addresses)) == 3
    target = json.loads(told(platform, desk)["APP_TARGETS"])[stock]
    assert target == "ipv4:" + ",".join(addresses)


async def test_a_service_that_is_left_out_is_called_where_it_was_moved_to(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    desk, stock = names
    moved = free_port()
    platform = run(leave_out=(stock,), ports={"nats": free_port(), f"{stock}.grpc": moved})
    await platform.start()
    await platform.wait_ready(60)

    assert platform.of(stock) == []
    assert json.loads(told(platform, desk)["APP_TARGETS"]) == {stock: f"ipv4:127.0.0.1:{moved}"}


async def test_on_postgres_every_service_has_a_database_that_stays(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    desk, stock = names
    platform = run(database="postgres", free_ports=True, ports={})
    await platform.start()
    await platform.wait_ready(60)

    assert platform.postgres is not None
    url = told(platform, stock)["APP_DATABASE_URL"]
    assert url == platform.postgres.url(stock)
    assert "APP_DATABASE_URL" not in told(platform, desk)
    await asyncio.to_thread(execute, url, "CREATE TABLE kept (id int)")
    await platform.stop()

    again = run(database="postgres", free_ports=True, ports={})
    await again.start()
    await again.wait_ready(60)
    await asyncio.to_thread(execute, told(again, stock)["APP_DATABASE_URL"], "DROP TABLE kept")


def execute(url: str, statement: LiteralString) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(statement)


async def test_a_data_folder_that_cannot_be_written_is_told_with_what_moves_it(
    run: Callable[..., Platform], write: Write
) -> None:
    file = write("a file", "")
    with pytest.raises(DevkitError, match=r"cannot be written .*SLIPWAY_STATE="):
        await run(data=file / "state").start()


async def test_a_port_in_use_is_named_with_its_holder_and_with_what_moves_it(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    _, stock = names
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        platform = run(ports={f"{stock}.http": port, "nats": free_port()})

        with pytest.raises(DevkitError) as raised:
            await platform.start()

    assert f"port {port} ({stock}.http) is in use" in str(raised.value)
    assert f"(process {os.getpid()})" in str(raised.value)
    assert f"--port {stock}.http=" in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leave_out": ("unknown",)}, "there is no service unknown"),
        ({"replicas": {"unknown": 2}}, "there is no service unknown"),
        ({"ports": {"unknown.http": 1}}, "there is no port unknown.http"),
    ],
)
async def test_a_name_that_nothing_has_is_refused(
    run: Callable[..., Platform], options: dict[str, object], message: str
) -> None:
    with pytest.raises(DevkitError, match=message):
        await run(**options).start()


async def test_a_process_that_dies_comes_back_on_its_port(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    said: list[tuple[str, str]] = []
    platform = run(on_event=lambda name, what: said.append((name, what)))
    await platform.start()
    await platform.wait_ready(60)
    process = platform.of(names[1])[0]
    before = process.pid

    process.kill()
    await until(lambda: process.running and process.pid != before)
    await process.wait_ready(60)

    assert process.restarts == 1
    assert said == [(names[1], "ended with code -9; starting it again in 0.25 s")]
    state = read_state(platform.data)
    assert state is not None


async def test_every_replica_keeps_its_ports_over_a_restart(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    platform = run(replicas={names[1]: 2})
    await platform.start()
    await platform.wait_ready(60)
    first, second = platform.of(names[1])
    url = second.http_url

    await comes_back(second)
    await second.wait_ready(60)

    runs = [line for line in second.lines() if line.startswith("starting")]
    assert len(runs) > 1
    assert len(set(runs)) == 1, "started with the same variables each time"
    assert f'"APP_HTTP_PORT": "{url.rsplit(":", 1)[1]}"' in runs[0]
    assert second.http_url == url != first.http_url


async def comes_back(process: ServiceProcess) -> None:
    """Kill a process twice; after its restart the runner must have checked the others too."""
    for _ in range(2):
        before = process.pid
        process.kill()
        await until(lambda before=before: process.running and process.pid != before)  # type: ignore[misc]


async def test_what_was_terminated_stays_down_until_it_is_started(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    platform = run()
    await platform.start()
    await platform.wait_ready(60)
    process, neighbor = platform.processes

    process.terminate()
    assert await process.wait_ended(60) == 0
    await comes_back(neighbor)
    assert not process.running

    process.start()
    await process.wait_ready(60)


async def test_wrong_settings_are_not_tried_again(
    run: Callable[..., Platform], names: tuple[str, str], write_service: WriteService
) -> None:
    said: list[str] = []
    write_service(names[0], http=free_port(), body="print('APP_X: wrong'); sys.exit(78)")
    platform = run(on_event=lambda name, what: said.append(what))
    await platform.start()

    await until(lambda: any("code 78" in line for line in said))
    (neighbor,) = platform.of(names[1])
    await neighbor.wait_ready(60)
    await comes_back(neighbor)
    assert len([line for line in said if "code 78" in line]) == 1
    assert platform.of(names[0])[0].restarts == 0
    with pytest.raises(DevkitError, match=r"ended \(exit code 78\)"):
        await platform.wait_ready(60)


async def test_broken_settings_are_named_with_their_file(
    run: Callable[..., Platform], names: tuple[str, str], write: Write
) -> None:
    file = f"services/{names[0]}/src/{names[0]}/settings.py"
    write(file, "def broken(:\n")

    with pytest.raises(DevkitError, match=f"SyntaxError.*{file}"):
        await run().start()


async def test_a_service_that_never_gets_ready_is_named(
    run: Callable[..., Platform], names: tuple[str, str], write_service: WriteService
) -> None:
    write_service(names[0], http=free_port(), body="time.sleep(60)")
    platform = run()
    await platform.start()

    with pytest.raises(DevkitError, match=f"{names[0]} was not ready after"):
        await platform.wait_ready(1)


async def test_a_service_that_ends_at_its_start_is_named_with_the_end_of_its_log(
    run: Callable[..., Platform], names: tuple[str, str], write_service: WriteService
) -> None:
    write_service(names[0], http=free_port(), body="print('no license'); sys.exit(1)")
    platform = run(restart=False)
    await platform.start()

    with pytest.raises(DevkitError) as raised:
        await platform.wait_ready(60)

    assert f"{names[0]} ended (exit code 1)" in str(raised.value)
    assert "no license" in str(raised.value)
    assert names[1] not in str(raised.value)


async def test_callers_stop_before_those_they_call_and_nothing_is_left(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    desk, stock = names
    platform = run(replicas={stock: 2})
    await platform.start()
    await platform.wait_ready(60)
    pids = [platform.broker.pid, *(process.pid for process in platform.processes)]
    ports = [platform.broker.port, *(process.http_port for process in platform.processes)]

    await platform.stop()

    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert not [port for port in ports if listens(port)]
    ended = {
        process.name: float(process.lines()[-1].removeprefix("stopping "))
        for process in platform.processes
    }
    assert ended[desk] < min(ended[stock], ended[f"{stock}-1"])
    assert read_state(platform.data) is None


async def test_lines_arrive_with_the_name_of_their_replica(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    desk, stock = names
    lines: list[tuple[str, str]] = []
    platform = run(replicas={stock: 2}, on_line=lambda name, line: lines.append((name, line)))
    await platform.start()
    await platform.wait_ready(60)
    await platform.stop()

    assert {name for name, line in lines if line.startswith("starting")} == {
        desk,
        stock,
        f"{stock}-1",
    }
    assert {name for name, line in lines if line.startswith("stopping")} == {
        desk,
        stock,
        f"{stock}-1",
    }


async def test_a_second_platform_on_the_same_data_is_refused(run: Callable[..., Platform]) -> None:
    first = run()
    await first.start()

    with pytest.raises(DevkitError, match="is running already"):
        await run(free_ports=True).start()

    assert read_state(first.data) is not None


async def test_only_the_service_whose_code_changed_is_restarted(
    run: Callable[..., Platform], names: tuple[str, str], write: Write, write_service: WriteService
) -> None:
    desk, stock = names
    platform = run(watch=True)
    await platform.start()
    await platform.wait_ready(60)
    before = {process.service: process.pid for process in platform.processes}
    process = platform.of(stock)[0]

    # The test cannot know when the watcher starts, which ignores earlier changes.
    while process.pid == before[stock]:
        write_service(stock, http=1, answer="changed")
        await asyncio.sleep(1)
    while not await process.is_ready():  # The last change may restart it once more.
        await asyncio.sleep(0.05)

    assert platform.of(desk)[0].pid == before[desk]

    write("platform/chassis/src/chassis/anything.py", "")
    await until(lambda: all(p.pid != before[p.service] for p in platform.processes))


async def test_nothing_outlives_a_runner_that_is_killed(
    services: Workspace, names: tuple[str, str]
) -> None:
    if sys.platform != "linux":
        pytest.skip("only the Linux kernel ends children with their parent")
    script = """
import asyncio, sys
from pathlib import Path
from devkit.platform import Platform, PlatformOptions
from devkit.service_process import ServiceProcess
from devkit.workspace import Workspace

async def main():
    root = Path(sys.argv[1])
    platform = Platform(PlatformOptions(root / "d", free_ports=True, workspace=Workspace(root)))
    await platform.start()
    await platform.wait_ready(60)
    print(platform.broker.pid, *(process.pid for process in platform.processes), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    sources = os.pathsep.join(str(member.source_root) for member in services.services)
    runner = subprocess.Popen(
        [sys.executable, "-c", script, str(services.root)],
        env=os.environ | {"PYTHONPATH": sources},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert runner.stdout is not None
    with runner.stdout:
        pids = [int(pid) for pid in runner.stdout.readline().split()]
    assert len(pids) == 3

    runner.send_signal(signal.SIGKILL)
    runner.wait()

    await until(lambda: not [pid for pid in pids if _lives(pid)])


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
