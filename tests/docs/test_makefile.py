"""`make help` lists every target, and `make` keeps the environment complete."""

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGETS = re.findall(
    r"^([a-z-]+):.*## (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M
)


def test_make_help_shows_every_target_in_a_line() -> None:
    run = make("help")

    assert run.stderr == ""
    shown = [line.split(maxsplit=1) for line in run.stdout.splitlines()]
    assert shown == [[name, text] for name, text in TARGETS]
    assert [line for line in run.stdout.splitlines() if len(line) > 80] == []


def test_every_target_says_what_it_is_for() -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = {name for line in phony for name in line.split()}
    assert named == {name for name, _ in TARGETS}


def test_an_incomplete_environment_is_recreated(tmp_path: Path) -> None:
    python = tmp_path / "fake-python"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in "-m venv"*) echo "$*" >>made; cp fake-python .venv/bin/pip;; esac\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    for name in ("python", "uv"):
        (tmp_path / ".venv/bin").mkdir(parents=True, exist_ok=True)
        shutil.copy(python, tmp_path / ".venv/bin" / name)
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements-dev.lock").write_text("uv==1\n", encoding="utf-8")

    for _ in range(2):
        make("setup", f"PYTHON={python}", folder=tmp_path)

    assert (tmp_path / "made").read_text(encoding="utf-8") == "-m venv --clear .venv\n"


def test_a_deleted_member_is_removed_from_the_environment(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements-dev.lock").write_text("uv==1\n", encoding="utf-8")
    for name in ("kept", "gone"):
        (tmp_path / "services" / name).mkdir(parents=True)
        (tmp_path / "services" / name / "pyproject.toml").touch()
    (tmp_path / ".venv").mkdir()
    members = "services/gone/pyproject.toml services/kept/pyproject.toml"
    (tmp_path / ".venv/.ready").write_text(members, encoding="utf-8")
    assert "pip sync" not in would_do("setup", tmp_path)

    shutil.rmtree(tmp_path / "services/gone")

    assert "pip sync" in would_do("setup", tmp_path)


def test_make_test_runs_the_tests_that_are_named() -> None:
    assert "-k probes tests/e2e\n" in would_do("test", ROOT, "TESTS=tests/e2e", "ARGS=-k probes")
    assert "$(slipway workspace tests)\n" in would_do("test", ROOT)


def would_do(target: str, folder: Path, *variables: str) -> str:
    """Return the commands that make would run."""
    return make("--dry-run", target, *variables, folder=folder).stdout


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        env={n: value for n, value in os.environ.items() if not n.startswith(("MAKE", "TESTS"))},
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
