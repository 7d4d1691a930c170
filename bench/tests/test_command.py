"""`slipway bench`: its rounds, its refusal of a record of few rounds, and its end by a signal."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import command
from devkit.errors import WrongUsage

ROOT = Path(__file__).parents[2]
SECONDS = 60.0


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rounds that were asked for; nothing is measured, and nothing is written."""
    asked: list[int] = []

    def stop(_comparisons: object, rounds: int, *_: object, **_options: Any) -> None:
        asked.append(rounds)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_comparisons", stop)
    return asked


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], 5),
        (["--rounds", "3"], 3),
        (["--tiny"], 1),
        (["--tiny", "--rounds", "2"], 2),
        (["--record"], 5),
        (["--record", "--rounds", "6"], 6),
    ],
)
def test_five_rounds_are_measured_and_one_where_nothing_is_measured(
    rounds: list[int], options: list[str], expected: int
) -> None:
    result = CliRunner().invoke(command.app, ["relay-sqlite", *options])
    assert "stopped; no figures were written" in result.output
    assert rounds == [expected]


@pytest.mark.parametrize("options", [["--rounds", "4"], ["--tiny"], ["--tiny", "--rounds", "5"]])
def test_a_record_of_fewer_than_five_rounds_is_refused(
    rounds: list[int], options: list[str]
) -> None:
    result = CliRunner().invoke(command.app, ["relay-sqlite", "--record", *options])
    assert isinstance(result.exception, WrongUsage)
    assert "--record" in str(result.exception)
    assert rounds == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_benchmark_also_in_the_background_of_a_script(
    number: signal.Signals, tmp_path: Path
) -> None:
    """A shell lets the processes that it starts in the background of a script ignore SIGINT."""
    process = subprocess.Popen(
        [sys.executable, "-m", "devkit", "bench", "growth-backlog"],
        cwd=ROOT,
        env=os.environ | {"SLIPWAY_STATE": str(tmp_path)},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        assert process.stdout is not None
        assert any("preparing" in line for line in process.stdout)
        process.send_signal(number)
        output, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    assert "stopped; no figures were written" in output
    assert process.returncode == 130
