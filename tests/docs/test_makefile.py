"""`make help` is the list of what there is."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGETS = re.findall(r"^([a-z-]+):.*## (.*)$", (ROOT / "Makefile").read_text(), re.M)


def test_make_help_shows_every_target_in_a_line() -> None:
    run = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (run.returncode, run.stderr) == (0, "")
    shown = [line.split(maxsplit=1) for line in run.stdout.splitlines()]
    assert shown == [[name, text] for name, text in TARGETS]


def test_every_target_says_what_it_is_for() -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    named = {name for line in phony for name in line.split()}
    assert named - {name for name, _ in TARGETS} == {"setup"}, "which the others need"
