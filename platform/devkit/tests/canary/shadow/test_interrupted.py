"""An interrupted shadow leaves no process, no file and no pod behind; a killed one leaves a pod."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

SECONDS = 60

# A service whose commands never end, and two versions of it as `slipway canary shadow` runs them.
_SLEEPS = "import sys, time; print('replaying', file=sys.stderr, flush=True); time.sleep(600)"
# A process that was started in the background may ignore the signal of Ctrl-C.
_HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
_LOCALLY = """
import os, sys, tempfile
from pathlib import Path
from devkit.canary.shadow.version import Version, run_together

def say(*said):
    print(*said, flush=True)

with tempfile.TemporaryDirectory() as folder:
    of_both = ("sleeper", Path(sys.argv[1]), dict(os.environ), say)
    stable, canary = Version("stable", *of_both), Version("canary", *of_both)
    if sys.argv[2] == "recording":
        canary.run([])
    else:
        run_together({stable: [], canary: []})
"""
_ON_A_CLUSTER = """
from devkit.canary.shadow.cluster import shadow_on_cluster
from devkit.canary.shadow.request import Request
from devkit.cluster.namespace import Namespace

def say(*said):
    print(*said, flush=True)

shadow_on_cluster(Namespace("shop"), Request("orders", 10), "v2", say)
"""
# kubectl for a pod whose containers run and say something, but never end.
_KUBECTL = """#!{python}
import json, sys, time
arguments = sys.argv[3:]
with open("{calls}", "a", encoding="utf-8") as calls:
    calls.write(" ".join(arguments) + "\\n")
template = {{"metadata": {{}}, "spec": {{"containers": [{{"name": "app", "image": "orders:v1"}}]}}}}
if arguments[:2] == ["get", "deployment"]:
    print(json.dumps({{"spec": {{"template": template}}}}))
elif arguments[:2] == ["get", "pods"]:
    print(json.dumps({{"items": {left}}}))
elif arguments[:2] == ["get", "pod"]:
    states = [{{"terminated": {{"exitCode": {record}}}}} if {record} else {{"running": {{}}}}]
    states += [{{"running": {{}}}}] * 2
    named = zip(("record", "stable", "canary"), states)
    statuses = [{{"name": name, "state": state}} for name, state in named]
    print(json.dumps({{"status": {{"containerStatuses": statuses}}}}))
elif arguments[-1] == "--container=record" and {record}:
    print("the database cannot be reached", flush=True)
elif arguments[0] == "logs":
    print("replaying", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """A function that runs code in a process group of its own, with temporary files of its own."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "sleeper.py").write_text(_SLEEPS, encoding="utf-8")

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            [sys.executable, "-c", _HEARS + code, str(tmp_path), *arguments],
            env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    return start


def interrupt(process: subprocess.Popen[str], lines: int) -> list[psutil.Process]:
    """Interrupt a process alone after some lines of its output; return the children it had."""
    assert process.stdout is not None
    for _ in range(lines):
        assert process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    return children


def have_ended(children: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(children, timeout=5)
    return not alive


@pytest.mark.parametrize(("phase", "versions"), [("recording", 1), ("replaying", 2)])
def test_an_interrupt_ends_the_commands_of_both_versions_and_removes_their_files(
    run: Callable[..., subprocess.Popen[str]], tmp_path: Path, phase: str, versions: int
) -> None:
    process = run(_LOCALLY, phase)
    children = interrupt(process, versions)
    assert len(children) == versions
    assert have_ended(children)
    assert list((tmp_path / "tmp").iterdir()) == []


def kubectl(folder: Path, *left: dict[str, Any], record: int = 0) -> Path:
    """Make a kubectl that finds these pods of shadows; return the file with its calls.

    The container that records has ended with the code `record`, or runs if that is 0.
    """
    program, calls = folder / "kubectl", folder / "calls"
    text = _KUBECTL.format(python=sys.executable, calls=calls, left=list(left), record=record)
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    return calls


def ended(name: str, *states: dict[str, Any]) -> dict[str, Any]:
    """Return a pod of shadows whose containers have these states."""
    containers = zip(("record", "stable", "canary"), states, strict=True)
    statuses = [{"name": container, "state": state} for container, state in containers]
    return {"metadata": {"name": name}, "status": {"containerStatuses": statuses}}


def test_pods_that_killed_shadows_have_left_are_deleted_by_the_next(
    run: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """A pod that runs, or whose results are being read, belongs to another command."""
    now = datetime.now(UTC)
    long_ago = {"terminated": {"finishedAt": (now - timedelta(hours=1)).isoformat()}}
    just_now = {"terminated": {"finishedAt": now.isoformat()}}
    calls = kubectl(
        tmp_path,
        ended("orders-shadow-left", long_ago, long_ago, long_ago),
        ended("orders-shadow-read", long_ago, just_now, long_ago),
        ended("orders-shadow-runs", long_ago, {"running": {}}, long_ago),
    )
    interrupt(run(_ON_A_CLUSTER), 5)
    made = calls.read_text(encoding="utf-8").splitlines()
    deleted = [each.split()[2] for each in made if each.startswith("delete pod ")]
    assert deleted[0] == "orders-shadow-left"
    assert len(deleted) == 2, "the other one is its own"


def test_an_interrupt_deletes_the_pod_and_ends_those_who_follow_its_logs(
    run: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    calls = kubectl(tmp_path)
    began = time.monotonic()
    children = interrupt(run(_ON_A_CLUSTER), 4)
    assert time.monotonic() - began < SECONDS
    assert len(children) == 3
    assert have_ended(children)
    made = calls.read_text(encoding="utf-8").splitlines()
    assert made[-1].startswith("delete pod orders-shadow-")


def test_a_shadow_without_a_recording_fails_although_the_others_wait_for_it(
    run: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    calls = kubectl(tmp_path, record=os.EX_UNAVAILABLE)
    _, errors = run(_ON_A_CLUSTER).communicate(timeout=SECONDS)
    assert "record ended with code 69:\nthe database cannot be reached" in errors
    assert calls.read_text(encoding="utf-8").splitlines()[-1].startswith("delete pod orders-shadow")
