"""A stop ends every process, whatever happens in the meantime."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from devkit.errors import DevkitError
from devkit.log_tail import current_logs
from devkit.platform import Platform, PlatformOptions
from devkit.platform.replicas import Replicas
from devkit.service_process import ServiceProcess
from devkit.state import read_state
from devkit.stop_signals import stop_requested
from devkit.workspace import Workspace
from localservers import free_port

WriteService = Callable[..., None]


@pytest.fixture(autouse=True)
def service(shop: Workspace, write_service: WriteService, desk: str) -> None:
    """A minimal service."""
    write_service(desk, http=free_port())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(100):
        while not holds():
            await asyncio.sleep(0.02)


async def test_lines_are_passed_on_until_a_service_has_ended(
    run: Callable[..., Platform], write_service: WriteService, desk: str
) -> None:
    write_service(desk, http=free_port(), stop="time.sleep(2); os._exit(0)")
    heard: list[tuple[str, bool]] = []

    def on_line(name: str, line: str) -> None:
        heard.append((line.split()[0], platform.processes[0].running))

    platform = run(on_line=on_line)
    await platform.start()
    await platform.wait_ready(100)

    await platform.stop()

    assert ("stopping", True) in heard


async def test_a_terminal_that_is_gone_ends_no_stop_half_way(
    run: Callable[..., Platform], desk: str
) -> None:
    gone = refused = False

    def on_line(name: str, line: str) -> None:
        nonlocal refused
        if gone:
            refused = True
            raise OSError("no such terminal")

    platform = run(on_line=on_line)
    await platform.start()
    await platform.wait_ready(100)
    pids = [platform.broker.pid, *(process.pid for process in platform.processes)]
    gone = True

    # The task that reads logs may have failed at the last line before `stop` did.
    with contextlib.suppress(OSError):
        await platform.stop()

    gone = False
    assert refused
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert read_state(platform.data) is None


async def test_a_killed_platform_starts_nothing_again(run: Callable[..., Platform]) -> None:
    said: list[str] = []
    platform = run(restart_servers=True, on_event=lambda _, what: said.append(what))
    before = asyncio.all_tasks()
    await platform.start()
    assert asyncio.all_tasks() > before

    platform.kill()
    await until(lambda: asyncio.all_tasks() == before)

    assert said == []
    assert not platform.broker.running


def command_lines() -> Iterator[str]:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # It has ended meanwhile, or is a zombie.
            yield " ".join(child.cmdline())


async def test_a_start_that_is_cancelled_leaves_no_server(run: Callable[..., Platform]) -> None:
    platform = run()
    start = asyncio.create_task(platform.start())
    # No turn of the event loop is left out, because the broker may start within milliseconds.
    while not (platform.data / "nats").exists():
        await asyncio.sleep(0)
    start.cancel()

    with pytest.raises(asyncio.CancelledError):
        await start

    assert not platform.broker.running
    assert not [line for line in command_lines() if str(platform.data) in line]


async def test_the_event_loop_runs_between_two_starts(tmp_path: Path) -> None:
    started_at: list[int] = []
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    class Recorded(ServiceProcess):
        def start(self, environment: Mapping[str, str] | None = None) -> None:
            started_at.append(turns)

    def process(replica: int) -> ServiceProcess:
        return Recorded(
            service="desk",
            replica=replica,
            package="desk",
            http_port=0,
            grpc_port=None,
            environment={},
            log=tmp_path / "desk.log",
            folder=tmp_path,
        )

    counting = asyncio.create_task(count())
    await Replicas([process(replica) for replica in range(3)]).start()
    counting.cancel()

    assert len(set(started_at)) == 3


async def test_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stopping = stop_requested(Platform(PlatformOptions(Path("nowhere"))))
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(100):
            await stopping.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(signal.SIGHUP, before)


async def test_a_port_that_cannot_be_is_refused(run: Callable[..., Platform]) -> None:
    with pytest.raises(DevkitError, match="nats=99999999: the highest port is 65535"):
        await run(ports={"nats": 99999999}).start()


async def test_more_replicas_than_lanes_are_refused_with_the_reason(
    run: Callable[..., Platform], desk: str
) -> None:
    with pytest.raises(DevkitError, match=f"{desk}=21: replicas share 20 lanes"):
        await run(replicas={desk: 21}).start()


async def test_logs_of_replicas_that_are_no_more_are_set_aside(
    run: Callable[..., Platform], desk: str
) -> None:
    platform = run()
    old = platform.data / f"logs/{desk}-2.log"
    old.parent.mkdir(parents=True)
    old.write_text("of another run\n", encoding="utf-8")

    await platform.start()

    assert [file.name for file in current_logs(platform.data)] == [f"{desk}-0.log"]
    assert old.with_suffix(".previous.log").read_text(encoding="utf-8") == "of another run\n"
