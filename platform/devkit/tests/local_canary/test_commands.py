"""The commands around a canary as a developer types them: run, ps, logs, canary weight."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from forked_python import run_module

from chassis.exit_codes import USAGE
from devkit.workspace import Workspace
from localservers import free_port
from localservers.program import installed_program

needs_envoy = pytest.mark.skipif(
    installed_program("envoy") is None, reason="Envoy is not installed: `make envoy`"
)

SECONDS = 60.0


@pytest.fixture
def desk(
    workspace: Workspace,
    write: Callable[[str, str], Path],
    write_service: Callable[..., None],
    commit: Callable[[], str],
) -> Workspace:
    """A workspace with one service, which prints its version."""
    write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["platform/*", "services/desk"]\n')
    write(".gitignore", ".slipway\noutput.txt\n")
    write_service("desk", http=free_port(), body="print('open with', os.environ['APP_VERSION'])")
    commit()
    return Workspace(workspace.root)


def environment(workspace: Workspace) -> dict[str, str]:
    sources = [str(member.source_root) for member in workspace.services]
    return os.environ | {"PYTHONPATH": os.pathsep.join(sources)}


@pytest.fixture
def slipway(desk: Workspace) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs `slipway` in the workspace."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_module("devkit", *arguments, environment=environment(desk), folder=desk.root)

    return run


@pytest.fixture
def running(desk: Workspace) -> Iterator[subprocess.Popen[bytes]]:
    """The process of `slipway run --canary`, when its services are ready."""
    with (desk.root / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "devkit", "run", "--free-ports", "--canary", "desk=30"],
            cwd=desk.root,
            env=environment(desk),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + SECONDS
    while "ready in" not in printed(desk):
        assert process.poll() is None, printed(desk)
        assert time.monotonic() < deadline, printed(desk)
        time.sleep(0.02)
    yield process
    process.send_signal(signal.SIGINT)
    process.wait(SECONDS)


def printed(desk: Workspace) -> str:
    return (desk.root / "output.txt").read_text(encoding="utf-8")


@needs_envoy
def test_another_terminal_shows_and_changes_the_weight_and_a_wrong_weight_changes_nothing(
    running: subprocess.Popen[bytes],
    desk: Workspace,
    slipway: Callable[..., subprocess.CompletedProcess[str]],
    git: Callable[..., str],
) -> None:
    version = git("rev-parse", "--short", "HEAD")
    url = r"http://127.0.0.1:\d+"
    assert re.search(rf"(?m)^desk +{url} +30 % canary, 70 % {version} *$", printed(desk))
    assert re.search(rf"(?m)^desk-stable +{url} +{version} *$", printed(desk))
    assert re.search(rf"(?m)^desk-canary +{url} +canary *$", printed(desk))

    shown = slipway("ps")
    assert re.search(rf"(?m)^desk-stable +{version} +70 %", shown.stdout), shown
    assert re.search(r"(?m)^desk-canary +canary +30 %", shown.stdout), shown
    assert re.search(r"(?m)^envoy +running", shown.stdout), shown

    changed = slipway("canary", "weight", "desk=50")
    assert changed.returncode == 0, changed
    assert "desk  30 % → 50 %" in changed.stdout
    wrong = slipway("canary", "weight", "desk=1", "window=1")
    assert (wrong.returncode, "window has no canary here" in wrong.stderr) == (USAGE, True)
    shown = slipway("ps")
    assert re.search(r"(?m)^desk-canary +canary +50 %", shown.stdout), shown

    no_tools = environment(desk) | {"PATH": ""}
    for_clusters = run_module(
        "devkit", "canary", "abort", "desk", environment=no_tools, folder=desk.root
    )
    assert "`slipway canary weight desk=0` aborts it" in for_clusters.stderr

    for service in ("desk", "desk-canary"):
        assert "desk-canary | open with canary" in slipway("logs", service).stdout
    assert f"desk-stable | open with {version}" in slipway("logs", "desk").stdout


@needs_envoy
def test_ctrl_c_ends_both_versions_and_envoy(running: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(running.pid).children(recursive=True)
    assert {"nats-server", "envoy"} <= {child.name() for child in children}

    running.send_signal(signal.SIGINT)

    assert running.wait(SECONDS) == 0
    assert not [child for child in children if child.is_running()]


def test_without_a_platform_there_is_no_weight_to_change(
    slipway: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    told = slipway("canary", "weight", "desk=50")
    assert told.returncode == 1
    assert "nothing runs; `slipway run --canary" in told.stderr
