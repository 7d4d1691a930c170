"""The commands of docs/canary.md work on this machine, and show what the page shows."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from devkit.state import PlatformState, read_state
from localservers.program import installed_program

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "canary.md").read_text(encoding="utf-8")
LOCALLY = TEXT.split("## Locally", 1)[1].split("\n## ", 1)[0]
SECONDS = 90.0

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("restarts"),
    pytest.mark.skipif(
        installed_program("envoy") is None, reason="Envoy is not installed: `make envoy`"
    ),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the last commit is unknown"),
]


def commands() -> list[str]:
    """Return the indented blocks that begin with a command, with their indent removed."""
    blocks = re.findall(r"(?:^    [^\n]+\n)+", LOCALLY, re.MULTILINE)
    lines = [re.sub(r"(?m)^    ", "", block) for block in blocks]
    return [block for block in lines if re.match(r"make |slipway |\. ", block)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    ours = ("ARGS", "MAKE", "PYTEST_", "TEST", "SLIPWAY_", "APP_", "GIT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"SLIPWAY_STATE": str(tmp_path / "state")}


@pytest.fixture
def platform(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], PlatformState]]:
    """The state of the platform that the first command starts, on free ports."""
    start = commands()[0]
    options = re.fullmatch(r'make run ARGS="(.*)"\n', start)
    assert options, start
    output = tmp_path / "run.log"
    with output.open("wb") as file:
        run = subprocess.Popen(
            ["slipway", "run", "--free-ports", *options[1].split()],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )

    def state() -> PlatformState:
        found = read_state(tmp_path / "state")
        assert found is not None
        return found

    try:
        eventually(lambda: "loaded shop" in output.read_text(encoding="utf-8"))
        assert re.search(r"(?m)^inventory +.* 30 % canary, 70 % ", output.read_text("utf-8"))
        yield state
    finally:
        print(output.read_text(encoding="utf-8"))
        run.send_signal(signal.SIGINT)
        assert run.wait(SECONDS) == 0


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_commands_show_two_versions_whose_lanes_follow_the_weight(
    platform: Callable[[], PlatformState], environment: dict[str, str]
) -> None:
    _, orders, fifty, none, all_of_it, demo = commands()
    assert demo.startswith("make demo")
    (gateway,) = [each for each in platform().services if each.service == "gateway"]

    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", command.replace("localhost:8080", f"127.0.0.1:{gateway.http_port}")],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, done
        return done.stdout

    def lanes_are(stable: int, canary: int) -> bool:
        shown = run("slipway ps")
        return all(
            re.search(rf"(?m)^inventory-{track} .* %.* {lanes} of 20 *$", shown)
            for track, lanes in (("stable", stable), ("canary", canary))
        )

    eventually(lambda: lanes_are(14, 6))
    printed = run(orders)
    assert printed.count('"order_id"') == 20
    assert re.search(r"(?m)^inventory-canary +canary +30 % +6 of 20 *$", printed), printed
    assert re.search(r"(?m)^inventory-canary \| ", printed), printed
    for command, canary in ((fifty, 10), (none, 0), (all_of_it, 20)):
        run(command)
        eventually(partial(lanes_are, 20 - canary, canary))
