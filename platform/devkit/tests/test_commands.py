"""The commands as a developer types them: `slipway run` in a terminal, ps and logs in another."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Literal

import psutil
import pytest
from forked_python import run_module
from rich.console import Console

from devkit.commands.logs import choose_logs, last_lines
from devkit.console import LinePrinter, console
from devkit.errors import WrongUsage
from devkit.options import parse_numbers
from devkit.workspace import Workspace
from localservers import free_port

Write = Callable[[str, str], Path]


@pytest.fixture
def desk(workspace: Workspace, write: Write, write_service: Callable[..., None]) -> Workspace:
    """A workspace with one service."""
    write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["platform/*", "services/desk"]\n')
    write_service("desk", http=free_port(), body="print('open for readers')")
    return Workspace(workspace.root)


def slipway(workspace: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_module(
        "devkit", *arguments, environment=environment(workspace), folder=workspace.root
    )


def environment(workspace: Workspace) -> dict[str, str]:
    sources = [str(member.source_root) for member in workspace.services]
    return os.environ | {"PYTHONPATH": os.pathsep.join(sources)}


class Running:
    """A process of `slipway run`, and the lines that it has printed."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._output = workspace.root / "output.txt"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "devkit", "run", "--free-ports"],
                cwd=workspace.root,
                env=environment(workspace),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def wait_for(self, pattern: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.output):
            assert time.monotonic() < deadline, f"{pattern} never came:\n{self.output}"
            assert self.process.poll() is None, self.output
            time.sleep(0.02)


@pytest.fixture
def running(desk: Workspace) -> Iterator[Running]:
    run = Running(desk)
    yield run
    run.process.send_signal(signal.SIGINT)
    run.process.wait(60)


def test_a_terminal_shows_addresses_lines_readiness_and_the_end(running: Running) -> None:
    running.wait_for("ready in")
    # Log lines are read independently of readiness, so they may come later.
    running.wait_for(r"desk \| open for readers\n")
    output = running.output
    assert re.search(r"^desk +http://127.0.0.1:\d+ *$", output, re.MULTILINE)
    assert re.search(r"^nats +nats://127.0.0.1:\d+ *$", output, re.MULTILINE)
    assert "\x1b" not in output
    children = psutil.Process(running.process.pid).children(recursive=True)
    assert {"nats-server", "desk"} <= {child.name() for child in children}
    assert len(children) == 3  # The third one is the fork server.

    running.process.send_signal(signal.SIGINT)

    assert running.process.wait(60) == 0
    assert "desk | stopping" in running.output
    assert "Traceback" not in running.output
    assert not [child for child in children if child.is_running()]


def test_ctrl_c_twice_kills_at_once(
    desk: Workspace, write: Write, write_service: Callable[..., None]
) -> None:
    """The caller ignores SIGTERM, so the services that it calls do not get the signal."""
    write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["platform/*", "services/*"]\n')
    calls = 'targets: dict[str, str] = {"shelves": ""}'
    write_service("desk", http=free_port(), settings=calls, stop="return")
    write_service("shelves", http=free_port())
    write_service("lending", http=free_port())
    run = Running(Workspace(desk.root))
    try:
        run.wait_for("ready in")
        children = psutil.Process(run.process.pid).children(recursive=True)
        run.process.send_signal(signal.SIGINT)
        run.wait_for("(?m)^stopping; Ctrl-C again kills$")
        told = desk.state / "logs/desk-0.log"
        while "stopping" not in told.read_text(encoding="utf-8"):
            assert run.process.poll() is None
            time.sleep(0.02)

        run.process.send_signal(signal.SIGINT)

        run.process.wait(60)
    finally:
        run.process.kill()
        run.process.wait()
    assert not [child for child in children if child.is_running()]
    assert "stopping" not in (desk.state / "logs/shelves-0.log").read_text(encoding="utf-8")


def test_another_terminal_sees_what_runs_and_what_is_down(running: Running) -> None:
    running.wait_for("ready in")

    shown = slipway(running.workspace, "ps")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.search(r"^desk +ready +\d+ .* MiB +0 +\d+", shown.stdout, re.M)
    assert re.search(r"^nats +running +\d+ ", shown.stdout, re.M)

    pid = int(next(line for line in shown.stdout.splitlines() if "desk" in line).split()[-1])
    os.kill(pid, signal.SIGSTOP)
    try:
        paused = slipway(running.workspace, "ps")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert paused.returncode == 1
    assert re.search(r"^desk +paused", paused.stdout, re.M)

    os.kill(pid, signal.SIGKILL)
    running.wait_for("ended with code -9; starting it again")
    deadline = time.monotonic() + 60
    again = slipway(running.workspace, "ps")
    while not re.search(r"^desk .* MiB +1 +\d+", again.stdout, re.M):
        assert time.monotonic() < deadline, again.stdout
        again = slipway(running.workspace, "ps")
    assert str(pid) not in again.stdout


@pytest.mark.parametrize(
    "end", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_logs_are_shown_and_followed_and_stay_after_the_end(
    running: Running, end: signal.Signals
) -> None:
    running.wait_for("ready in")
    shown = slipway(running.workspace, "logs", "desk", "-n", "1")
    assert shown.stdout == "desk | open for readers\n"

    follower = subprocess.Popen(
        [sys.executable, "-m", "devkit", "logs", "--follow", "-n", "1"],
        cwd=running.workspace.root,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert follower.stdout is not None
    with follower.stdout:
        assert follower.stdout.readline() == "desk | open for readers\n"
        running.process.send_signal(signal.SIGINT)
        running.process.wait(60)
        assert follower.stdout.readline().startswith("desk | stopping")
        follower.send_signal(end)
        assert follower.wait(60) == 0

    assert "desk | stopping" in slipway(running.workspace, "logs").stdout
    assert "Listening for client" in slipway(running.workspace, "logs", "nats").stdout


def test_a_broker_that_dies_is_started_again(running: Running) -> None:
    running.wait_for("ready in")
    children = psutil.Process(running.process.pid).children(recursive=True)
    broker = next(child for child in children if "nats-server" in child.name())

    broker.kill()

    running.wait_for("nats +. ended; starting it again")
    deadline = time.monotonic() + 60
    while not [
        child
        for child in psutil.Process(running.process.pid).children(recursive=True)
        if "nats-server" in child.name() and child.pid != broker.pid
    ]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_with_nothing_running_ps_and_logs_say_what_starts_it(desk: Workspace) -> None:
    shown = slipway(desk, "ps")
    assert shown.returncode == 1
    assert "`slipway run` starts the platform" in shown.stdout
    logs = slipway(desk, "logs")
    assert logs.returncode == 1
    assert "`slipway run` starts the platform" in logs.stderr


def test_without_services_there_is_nothing_to_run(workspace: Workspace, write: Write) -> None:
    write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["platform/*"]\n')

    shown = slipway(workspace, "run", "--free-ports")

    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith("slipway: there are no services to run;")


def test_a_mistyped_option_is_one_line(desk: Workspace) -> None:
    shown = slipway(desk, "run", "--replicas", "desk")

    assert shown.returncode == os.EX_USAGE
    assert shown.stderr == ("slipway: --replicas desk is not valid; write --replicas inventory=3\n")


@pytest.mark.parametrize("value", ["orders", "=3", "orders=", "orders=many", "orders=0"])
def test_a_number_without_its_form_is_refused(value: str) -> None:
    with pytest.raises(WrongUsage, match="write --port orders"):
        parse_numbers("--port", "orders.http=8181", [value])


def test_logs_of_all_replicas_are_chosen_by_their_service(tmp_path: Path) -> None:
    for name in ("desk-0.log", "desk-1.log", "desk-0.previous.log", "stock-0.log"):
        (tmp_path / "logs").mkdir(exist_ok=True)
        (tmp_path / "logs" / name).write_text("1\n2\n3\n", encoding="utf-8")

    assert list(choose_logs(tmp_path, None)) == ["desk", "desk-1", "stock"]
    assert list(choose_logs(tmp_path, "desk")) == ["desk", "desk-1"]
    assert list(choose_logs(tmp_path, "desk-1")) == ["desk-1"]
    with pytest.raises(WrongUsage, match="no logs of orders; there are: desk, desk-1, stock"):
        choose_logs(tmp_path, "orders")
    assert last_lines(tmp_path / "logs/desk-0.log", 2) == ["2", "3"]
    assert last_lines(tmp_path / "logs/desk-0.log", 0) == []


def test_lines_are_aligned_and_plain_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printer = LinePrinter(["orders", "notifications"], console())

    printer.line("orders", "[bold] is no markup here, \x1b[31mred\x1b[0m is no red")
    printer.line("notifications", "x" * 300)

    assert capsys.readouterr().out.splitlines() == [
        "orders        | [bold] is no markup here, red is no red",
        "notifications | " + "x" * 300,
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_each_name_has_a_color_of_its_own_on_a_terminal_only(terminal: bool) -> None:
    file = StringIO()
    system: Literal["standard"] | None = "standard" if terminal else None
    output = Console(file=file, force_terminal=terminal, color_system=system, no_color=False)
    printer = LinePrinter(["orders", "desk"], output)

    printer.line("orders", "one")
    printer.line("desk", "two")

    orders, desk = file.getvalue().splitlines()
    if terminal:
        assert orders == "\x1b[36morders | \x1b[0mone"
        assert desk == "\x1b[35mdesk   | \x1b[0mtwo"
    else:
        assert (orders, desk) == ("orders | one", "desk   | two")
