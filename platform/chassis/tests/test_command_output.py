"""The output of a command: readable in any locale, and no traceback if it cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LEGACY = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
TESTS = Path(__file__).parent


def command(stdout: int, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(TESTS / "contracts"), str(TESTS / "parts")])
    return subprocess.run(
        [sys.executable, "-m", "bookstore_service", "--settings"],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("trouble", ["reader gone", "disk full", "legacy locale"])
def test_output_that_cannot_be_written_ends_a_command_without_a_traceback(trouble: str) -> None:
    if trouble == "legacy locale":
        done = command(subprocess.PIPE, **LEGACY)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.isascii()
        return
    if trouble == "disk full":
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        output = os.open("/dev/full", os.O_WRONLY)
        ends = (74, "standard output cannot be written: No space left on device\n")
    else:
        reader, output = os.pipe()
        os.close(reader)
        ends = (141, "")
    done = command(output)
    os.close(output)
    assert (done.returncode, done.stderr) == ends
