"""Messages about an incomplete environment and a mistyped command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def slipway(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devkit", *arguments],
        env=os.environ | {"PYTHONPATH": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


def test_a_package_that_is_missing_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        "raise ModuleNotFoundError('No module', name='typer')\n", encoding="utf-8"
    )

    shown = slipway(tmp_path, "doctor")

    assert shown.returncode == 1
    assert shown.stderr == "slipway: typer is not installed; run `rm -r .venv; make setup`\n"


def test_ctrl_c_while_modules_are_imported_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")

    shown = slipway(tmp_path, "ps")

    assert (shown.returncode, shown.stderr) == (130, "")


def test_a_reader_that_leaves_before_the_end_ends_a_command_quietly() -> None:
    reader, output = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "devkit", "--help"],
        stdout=output,
        stderr=subprocess.PIPE,
        timeout=100,
        check=False,
    )
    os.close(output)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(("typed", "meant"), [("rnu", "run"), ("stcktake", "stocktake")])
def test_a_mistyped_command_gets_a_suggestion(tmp_path: Path, typed: str, meant: str) -> None:
    plugin = tmp_path / "stocktake-1.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: stocktake\nVersion: 1\n", encoding="utf-8"
    )
    (plugin / "entry_points.txt").write_text(
        "[slipway.commands]\nstocktake = stocktake:app\n", encoding="utf-8"
    )
    (tmp_path / "stocktake.py").write_text(
        "import typer\napp = typer.Typer()\n@app.command()\ndef stocktake() -> None: ...\n",
        encoding="utf-8",
    )

    shown = slipway(tmp_path, typed)

    assert shown.returncode == os.EX_USAGE
    assert f"Did you mean '{meant}'" in shown.stderr
