"""The command `slipway demo`."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from tempfile import gettempdir

import psutil
import pytest
from forked_python import run_module
from typer.testing import CliRunner

from demo import command, plan, run_local
from demo.laws import Law
from demo.ledgers import Ledgers
from demo.record import Record
from demo.settle import OpenWork, wait_ended
from demo.summary import Summary, Timing, summarize
from devkit.platform import Platform

# Starting whole platforms takes long on a busy machine.
pytestmark = [pytest.mark.xdist_group("restarts"), pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
LAWS = 8


def start(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "devkit", "demo", *arguments],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def run(temporary: Path, *arguments: str) -> tuple[int, str]:
    """Run the command to its end, and return its exit code and output."""
    environment = os.environ | {"TMPDIR": str(temporary)}
    done = run_module("devkit", "demo", *arguments, environment=environment, folder=ROOT)
    return done.returncode, done.stdout + done.stderr


def test_ten_baskets_keep_every_law_and_leave_nothing_behind(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code, output = run(temporary, "--baskets", "10", "--json", str(report))
    assert code == 0, output
    assert output.count("✓") == LAWS
    assert "✗" not in output
    assert "\x1b" not in output  # The output is not a terminal, so it has no colours.
    content = json.loads(report.read_text(encoding="utf-8"))
    assert content["all_laws_hold"] is True
    assert content["options"]["baskets"] == content["summary"]["placed"] == 10
    assert content["summary"]["events"]["shop.orders.v1.OrderPlaced"]["handled"] == 10
    assert content["summary"]["memory"]["orders"]["rss"] > 0
    assert list(temporary.iterdir()) == []


@pytest.mark.long
def test_on_postgres_with_replicas_every_law_holds_and_nothing_is_left_behind(
    tmp_path: Path,
) -> None:
    options = ("--database", "postgres", "--replicas", "inventory=2")
    code, output = run(tmp_path, "--baskets", "10", *options)
    assert code == 0, output
    (started,) = re.findall(r"starting (\d+) processes of (\d+) services", output)
    assert int(started[0]) == int(started[1]) + 1
    assert output.count("✓") == LAWS
    # The template from which the next PostgreSQL is copied stays.
    assert [folder for folder in tmp_path.iterdir() if "-template-" not in folder.name] == []
    assert databases_elsewhere(tmp_path) == []


def databases_elsewhere(data: Path) -> list[Path]:
    """Return the folders of PostgreSQL if its user may not enter the data folder."""
    found = []
    for owner in Path(gettempdir()).glob("slipway-postgres-data-*/belongs-to"):
        with suppress(OSError):  # A folder of another test may be deleted meanwhile.
            if str(data) in owner.read_text(encoding="utf-8"):
                found.append(owner.parent)
    return found


@pytest.mark.long
def test_a_lost_notification_breaks_its_law(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The notification is deleted after all orders have ended, before the ledgers are read."""

    async def lose_a_notification(platform: Platform, show: Callable[[OpenWork], None]) -> None:
        await wait_ended(platform, show)
        with closing(sqlite3.connect(platform.data / "data/notifications.db")) as database:
            database.execute("DELETE FROM notifications WHERE rowid = 1")
            database.commit()

    monkeypatch.setattr(plan, "wait_ended", lose_a_notification)
    monkeypatch.setattr(run_local, "mkdtemp", lambda prefix: str(tmp_path / "data"))
    (tmp_path / "data").mkdir()

    result = CliRunner().invoke(command.app, ["--baskets", "10"])

    assert result.exit_code == 1, result.output
    assert result.output.count("✓") == LAWS - 1
    (broken,) = [line for line in result.output.splitlines() if "✗" in line]
    assert "one notification per order" in broken
    assert "got 0 notifications" in result.output
    assert (tmp_path / "data/logs/notifications-0.log").exists()


@pytest.mark.long
def test_ctrl_c_stops_every_process_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with start(tmp_path, "--baskets", "1000") as demo:
        assert demo.stdout is not None
        while not demo.stdout.readline().startswith("starting"):
            assert demo.poll() is None
        family = psutil.Process(demo.pid).children(recursive=True)
        assert len(family) >= 6
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=250)
    assert demo.returncode == 130, output
    assert [process for process in family if process.is_running()] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "expected", "error"),
    [
        (("--json", "nowhere/report.json"), 1, "there is no folder nowhere"),
        (("--replicas", "nobody=2"), 64, "there is no service nobody"),
    ],
)
def test_invalid_options_are_refused_at_once_and_leave_nothing_behind(
    tmp_path: Path, options: tuple[str, ...], expected: int, error: str
) -> None:
    code, output = run(tmp_path, *options)
    assert code == expected
    assert error in output
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("broken", "options", "code", "kept"),
    [
        ((), (), 0, False),
        ((), ("--keep",), 0, True),
        (("one is missing",), (), 1, True),
    ],
)
def test_a_broken_law_exits_with_1_and_keeps_the_data(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    broken: tuple[str, ...],
    options: tuple[str, ...],
    code: int,
    kept: bool,
) -> None:
    async def run(*arguments: object) -> tuple[Summary, list[Law]]:
        figures = summarize(
            Record(),
            Ledgers({}, {}, {}, {}, {}),
            timing=Timing(0, 0, 0),
            events={},
            memory={},
            restarts={},
        )
        return figures, [Law("law", "1 = 2", broken)]

    monkeypatch.setattr(run_local, "run_and_stop", run)
    monkeypatch.setattr(run_local, "mkdtemp", lambda prefix: str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    report = tmp_path / "report.json"
    result = CliRunner().invoke(command.app, ["--baskets", "1", "--json", str(report), *options])
    assert result.exit_code == code
    assert json.loads(report.read_text(encoding="utf-8"))["all_laws_hold"] is (code == 0)
    assert (tmp_path / "data").exists() is kept
    assert (str(tmp_path / "data") in result.output.replace("\n", "")) is kept
