"""Services are forked from a process that has imported the libraries, and behave like new ones."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from devkit.errors import DevkitError
from devkit.fork_server import connection
from devkit.fork_server.servers import ForkServers
from devkit.platform.broker_keys import apply_all_streams
from devkit.service_process import ServiceProcess

pytestmark = [
    pytest.mark.skipif(os.uname().sysname != "Linux", reason="processes are forked on Linux only"),
    # The tests share a fork server, whose imports take longer than they do.
    pytest.mark.xdist_group("fork server"),
]

Write = Callable[[str], None]

SAY_WHAT_IT_IS = """
import gc, json, os, sys
modules = sys.modules
print(json.dumps({
    "imported": [n for n in ("chassis._lifecycle", "sqlalchemy.orm", "grpc.aio") if n in modules],
    "argv": sys.argv, "folder": os.getcwd(), "path": sys.path[0], "session": os.getsid(0),
    "parent": os.getppid(), "given": os.environ.get("APP_GIVEN"), "main": __name__,
    "collects": gc.isenabled(),
}))
"""
# For tests in which it does not matter what the server imports, which takes a second.
FEW = ("json",)
WAIT = "import time; print('waiting', flush=True); time.sleep(600)"


class Launcher:
    """Starts programs, each in a process of its own."""

    def __init__(self, folder: Path, servers: ForkServers) -> None:
        self.folder = folder
        self.servers = servers
        self.started: list[ServiceProcess] = []

    def write(self, code: str, *, name: str = "desk") -> None:
        """Write a program; a changed one needs another length or another second."""
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / "__main__.py").write_text(code, encoding="utf-8")

    def start(self, code: str | None = None, **environment: str) -> ServiceProcess:
        if code is not None:
            self.write(code)
        process = ServiceProcess(
            service="desk",
            replica=len(self.started),
            package="desk",
            http_port=1,
            grpc_port=None,
            environment=environment,
            log=self.folder / f"{len(self.started)}.log",
            folder=self.folder,
            start_forked=self.servers.start,
        )
        self.started.append(process)
        process.start()
        return process

    async def end(self, code: str, **environment: str) -> ServiceProcess:
        """Run a program to its end."""
        process = self.start(code, **environment)
        await process.wait_ended(60)
        return process

    async def output(self, code: str, **environment: str) -> str:
        return "\n".join((await self.end(code, **environment)).lines())


@pytest.fixture(scope="module")
def servers() -> Iterator[ForkServers]:
    servers = ForkServers()
    yield servers
    servers.close()


@pytest.fixture
async def launcher(tmp_path: Path, servers: ForkServers) -> AsyncIterator[Launcher]:
    launcher = Launcher(tmp_path, servers)
    yield launcher
    for process in launcher.started:
        process.kill()
    if launcher.servers is not servers:
        launcher.servers.close()


def test_the_servers_process_imports_nothing_for_itself_but_the_standard_library() -> None:
    """Imports take time at each start, and memory in each service."""
    code = """
import sys
before = set(sys.modules.values())
import devkit.fork_server.server
names = {module.__name__ for module in set(sys.modules.values()) - before}
print(*sorted(name for name in names if name.partition(".")[0] not in sys.stdlib_module_names))
"""
    imported = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    assert imported == [
        "devkit",
        "devkit.fork_server",
        "devkit.fork_server.messages",
        "devkit.fork_server.server",
    ]


async def said(process: ServiceProcess, line: str) -> None:
    deadline = time.monotonic() + 60
    while line not in process.lines():
        assert time.monotonic() < deadline, process.lines()
        await asyncio.sleep(0.01)


async def test_a_forked_service_has_the_libraries_and_is_otherwise_like_a_new_process(
    launcher: Launcher,
) -> None:
    process = await launcher.end(SAY_WHAT_IT_IS, APP_GIVEN="a value")
    (line,) = process.lines()
    told = json.loads(line)
    assert told["imported"] == ["chassis._lifecycle", "sqlalchemy.orm", "grpc.aio"]
    assert told["argv"] == [str(launcher.folder / "desk/__main__.py")]
    assert told["folder"] == told["path"] == str(launcher.folder)
    assert told["session"] == process.pid
    assert told["given"] == "a value"
    assert told["main"] == "__main__"
    assert told["collects"]


async def test_a_forked_process_has_its_services_name(launcher: Launcher) -> None:
    first, second = launcher.start(WAIT), launcher.start()
    await said(first, "waiting")
    await said(second, "waiting")
    assert [psutil.Process(p.pid).name() for p in (first, second)] == ["desk", "desk-1"]


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("pass", 0),
        ("import sys; sys.exit(78)", 78),
        ("raise SystemExit('wrong settings')", 1),
        ("1 / 0", 1),
        ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
async def test_the_exit_code_is_that_of_the_program(
    launcher: Launcher, code: str, exit_code: int
) -> None:
    assert (await launcher.end(code)).exit_code == exit_code


async def test_output_and_tracebacks_are_in_the_log(launcher: Launcher) -> None:
    output = await launcher.output("import sys; print('one'); sys.stderr.write('two\\n'); 1 / 0")
    assert output.startswith("one\ntwo\nTraceback")
    assert output.endswith("ZeroDivisionError: division by zero")


async def test_signals_reach_the_process(launcher: Launcher) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        "print('waiting', flush=True)\n"
        "time.sleep(600)\n"
    )
    process = launcher.start(code)
    await said(process, "waiting")
    await process.stop(60)
    assert process.exit_code == 3


async def test_changed_code_of_a_library_is_imported_again(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python imports `sitecustomize` at its start, so the fork server has imported it."""
    library = launcher.folder / "sitecustomize.py"
    library.write_text("VALUE = 'old'", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(launcher.folder))
    launcher.servers = ForkServers(FEW)
    say = "import sitecustomize; print(sitecustomize.VALUE)"
    assert await launcher.output(say) == "old"
    running = launcher.start(WAIT)
    await said(running, "waiting")
    library.write_text("VALUE = 'changed'", encoding="utf-8")
    assert await launcher.output(say) == "changed"
    assert running.running, "a process of the previous server goes on"


async def test_a_library_that_cannot_be_imported_is_reported_in_the_services_log(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    (launcher.folder / "alembic.py").write_text("broken =", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(launcher.folder))
    launcher.servers = ForkServers(["alembic"])
    output = await launcher.output("import alembic")
    assert "SyntaxError" in output


async def test_processes_end_with_their_server_and_the_next_one_gets_a_new_server(
    launcher: Launcher,
) -> None:
    launcher.servers = ForkServers(FEW)
    process = launcher.start(WAIT)
    await said(process, "waiting")
    first = psutil.Process(process.pid).ppid()
    os.kill(first, signal.SIGKILL)
    assert await process.wait_ended(60) == -signal.SIGKILL
    process = launcher.start(WAIT)
    await said(process, "waiting")
    assert psutil.Process(process.pid).ppid() not in (first, os.getpid())


async def test_a_server_that_cannot_fork_keeps_its_processes(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of processes may be reached, or the memory may not suffice."""
    full = launcher.folder / "full"
    refuse = f"""
import os
fork = os.fork
def limited_fork():
    if os.path.exists({str(full)!r}):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
os.fork = limited_fork
"""
    (launcher.folder / "sitecustomize.py").write_text(refuse, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(launcher.folder))
    launcher.servers = ForkServers(FEW)
    running = launcher.start(WAIT)
    await said(running, "waiting")
    full.touch()
    alone = launcher.start()
    await said(alone, "waiting")
    assert psutil.Process(alone.pid).ppid() == os.getpid()
    assert running.running
    full.unlink()
    forked = launcher.start()
    await said(forked, "waiting")
    assert psutil.Process(forked.pid).ppid() == psutil.Process(running.pid).ppid()


@pytest.mark.parametrize("call", ["start", "kill"])
async def test_a_server_that_does_not_answer_is_replaced(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    launcher.servers = ForkServers(FEW)
    process = launcher.start(WAIT)
    await said(process, "waiting")
    server = psutil.Process(psutil.Process(process.pid).ppid())
    server.suspend()
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 0.1)
    if call == "kill":
        await asyncio.to_thread(process.kill)
        assert process.exit_code == -signal.SIGKILL
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 60.0 if call == "kill" else 5.0)
    again = await asyncio.to_thread(launcher.start)
    await said(again, "waiting")
    assert not server.is_running()
    assert not process.running


async def test_a_process_with_the_id_of_an_earlier_one_runs(launcher: Launcher) -> None:
    last_pid = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last_pid, os.W_OK):
        pytest.skip("the next process id cannot be chosen")
    first = await launcher.end("pass")
    for _ in range(100):
        last_pid.write_text(str(first.pid - 1), encoding="utf-8")
        again = launcher.start(WAIT)
        if again.pid == first.pid:
            break
        again.kill()
    else:
        pytest.skip("other processes took the id")
    await said(again, "waiting")
    assert again.running
    assert first.exit_code == 0


async def test_a_variable_that_a_library_may_read_as_it_is_imported_needs_a_new_interpreter(
    launcher: Launcher,
) -> None:
    say = "import sys; print('sqlalchemy' in sys.modules)"
    assert await launcher.output(say, APP_LOG_LEVEL="debug", OTEL_SDK_DISABLED="true") == "True"
    assert (await launcher.output(say, GRPC_VERBOSITY="debug")).endswith("False")
    assert await launcher.output(say, OTEL_PROPAGATORS="none") == "False"


async def test_a_forked_command_gets_its_arguments_and_its_failure_is_told(
    launcher: Launcher, tmp_path: Path
) -> None:
    told = "import os, sys; sys.exit(f'{sys.argv[1:]} {os.environ[\"APP_NATS_NKEY_SEED_FILE\"]}')"
    service = await launcher.end(told, APP_NATS_NKEY_SEED_FILE="own")
    assert service.lines() == ["[] own"]
    key = re.escape(str(tmp_path / "release.nk"))
    with pytest.raises(DevkitError, match=rf"\['broker', 'apply'\] {key}"):
        apply_all_streams([service], tmp_path)
