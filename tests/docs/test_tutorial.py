"""The files and commands of docs/tutorial.md work in their order, in a copy of the clone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from devkit.state import PlatformState, ServiceState, read_state
from devkit.workspace import Workspace

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
# A step is a file (its path and content) or an indented command.
STEP = re.compile(
    r"^`(?P<name>[^`\n]+)`:\n\n```\w+\n(?P<content>.*?)^```$|(?P<command>(?:^    [^\n]+\n)+)",
    re.DOTALL | re.MULTILINE,
)
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "dist")
WITHOUT_HELM = "deploy/k8s/hashes: its inputs have changed"
SECONDS = 120.0

# The service is built once, for all tests; then all services start.
pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.xdist_group("tutorial")]


@dataclass(frozen=True)
class Clone:
    """A copy of this workspace, in which the tutorial is followed."""

    root: Path

    def write(self, name: str, content: str) -> None:
        file = self.root / name
        assert not file.exists(), "the tutorial writes new files only"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which Python imports the members of this copy."""
        ours = ("ARGS", "MAKE", "PYTEST_", "TEST", "SLIPWAY_", "APP_", "PYTHONPATH")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        members = Workspace(self.root).members
        paths = os.pathsep.join(str(member.source_root) for member in members)
        return kept | {"PYTHONPATH": paths, "TEST_PROCESSES": "0"}

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command without `make setup`, because the copy uses this environment."""
        (self.root / ".venv/.ready").touch()
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            timeout=500,
            check=False,
        )

    def passes(self, command: str) -> str:
        """Run a command that must succeed, and return its output."""
        done = self.run(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def steps() -> list[re.Match[str]]:
    return list(STEP.finditer(TEXT))


def commands() -> list[str]:
    return [step["command"] for step in steps() if step["command"]]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The clone after every file was written and every command before `make run` has passed."""
    clone = Clone(
        shutil.copytree(ROOT, tmp_path_factory.mktemp("tutorial") / "c", ignore=NOT_COPIED)
    )
    if (types := ROOT / ".mypy_cache").is_dir():
        # With the cache of the clone only new code is checked.
        shutil.copytree(types, clone.root / ".mypy_cache")
    (clone.root / ".venv").mkdir()
    (clone.root / ".venv/bin").symlink_to(Path(sys.executable).parent)
    before = {file.relative_to(ROOT).as_posix() for file in ROOT.glob("*/*/pyproject.toml")}
    (clone.root / ".venv/.ready").write_text(" ".join(before), encoding="utf-8")
    for step in steps():
        command = step["command"]
        if command is None:
            clone.write(step["name"], step["content"])
        elif command.strip() == "make run":
            break
        elif "--charts" not in command or shutil.which("helm"):
            clone.passes(command)
    return clone


def test_make_installs_the_new_service(clone: Clone) -> None:
    os.utime(clone.root / ".venv/.ready", (0, 0))
    run = subprocess.run(
        ["make", "--dry-run", "setup"],
        cwd=clone.root,
        env=clone.environment,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    assert "-e ./services/loyalty" in run.stdout


def test_the_new_service_passes_the_lint(clone: Clone) -> None:
    mine = "services/loyalty contracts"
    ruff = f"ruff check {mine} && ruff format --check {mine}"
    clone.passes(f"PATH=.venv/bin:$PATH; {ruff} && typos {mine}")
    for check in ("workspace imports", "workspace migrations", "contracts check"):
        clone.passes(f".venv/bin/slipway {check}")
    derived = clone.run(".venv/bin/slipway render --check")
    found = derived.stderr.splitlines()[1:]
    assert [line for line in found if shutil.which("helm") or WITHOUT_HELM not in line] == []


@pytest.mark.skipif(
    not (ROOT / ".mypy_cache").is_dir(),
    reason="without what `make lint` keeps, the types of the whole platform would be checked",
)
def test_the_new_services_types_are_right(clone: Clone) -> None:
    clone.passes(".venv/bin/slipway workspace types services/loyalty/src services/loyalty/tests")


def test_the_readmes_diagram_needs_exactly_the_line_that_the_tutorial_names(clone: Clone) -> None:
    (line,) = re.findall(r"`(orders -- \w+ --> loyalty)`", TEXT)
    test = "make test TESTS=tests/docs/test_readme.py ARGS='-k diagram'"
    assert clone.run(test).returncode != 0
    readme = clone.root / "README.md"
    text = readme.read_text(encoding="utf-8")
    drawn = text.replace("```mermaid\nflowchart LR\n", f"```mermaid\nflowchart LR\n  {line}\n")
    readme.write_text(drawn, encoding="utf-8")
    clone.passes(test)


def test_the_new_service_counts_each_order_once(clone: Clone) -> None:
    run, order, read = commands()[-3:]
    assert run == "    make run\n"
    assert '{"customer_id":"me","points":5}' in TEXT
    with running(clone) as platform:

        def place_order() -> None:
            placed = json.loads(clone.passes(for_ports(order, platform())))
            assert "order_id" in placed

        def is_answered(answer: str) -> bool:
            return clone.run(for_ports(read, platform())).stdout == answer

        place_order()
        eventually(lambda: is_answered('{"customer_id":"me","points":5}'))

        killed = service(platform(), "loyalty").pid
        os.kill(killed, signal.SIGKILL)
        place_order()
        eventually(lambda: service(platform(), "loyalty").pid != killed)
        eventually(lambda: is_answered('{"customer_id":"me","points":10}'))


@contextmanager
def running(clone: Clone) -> Iterator[Callable[[], PlatformState]]:
    """Run `make run` on free ports; yield its state when the products are loaded."""
    output = clone.root / "run.log"
    (clone.root / ".venv/.ready").touch()
    with output.open("w", encoding="utf-8") as file:
        make = subprocess.Popen(
            ["make", "run", "ARGS=--free-ports"],
            cwd=clone.root,
            env=clone.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def state() -> PlatformState:
        found = read_state(clone.root / ".slipway")
        assert found is not None
        return found

    try:
        eventually(lambda: "loaded shop" in output.read_text(encoding="utf-8"))
        yield state
    finally:
        print(output.read_text(encoding="utf-8"))
        os.killpg(make.pid, signal.SIGINT)
        make.wait(60)


def service(platform: PlatformState, name: str) -> ServiceState:
    (found,) = [each for each in platform.services if each.service == name]
    return found


def for_ports(command: str, platform: PlatformState) -> str:
    """Return the command with this platform's ports in place of the default ports."""
    ports = {"8080": service(platform, "gateway"), "8085": service(platform, "loyalty")}
    for known, process in ports.items():
        command = command.replace(f"localhost:{known}", f"127.0.0.1:{process.http_port}")
    return command


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
