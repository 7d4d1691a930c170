"""Processes that a contender's work needs: their end is noticed, so that nothing waits for them."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from devkit.errors import DevkitError

__all__ = ["check_alive", "run_with"]

_LOOK_SECONDS = 0.25


def check_alive(processes: Mapping[str, int]) -> None:
    """Raise DevkitError with the name of a process that has ended; `processes` are ids by name."""
    for name, pid in processes.items():
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                continue
        raise DevkitError(f"{name} (process {pid}) has ended")


def run_with(
    needed: Mapping[str, int],
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    folder: Path,
    seconds: float,
) -> subprocess.CompletedProcess[str]:
    """Run a command, and return its exit code and output.

    Args:
        needed: ids of the processes without which the command would wait in vain, by name.
        command: the program and its arguments.
        environment: its variables.
        folder: its working directory.
        seconds: time limit.

    Raises:
        DevkitError: a needed process has ended, or the time is over; the command was killed, and
            the message has the end of its output.
    """
    ends_at = time.monotonic() + seconds
    with subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    out, err = process.communicate(timeout=_LOOK_SECONDS)
                    return subprocess.CompletedProcess(command, process.returncode, out, err)
                check_alive(needed)
                if time.monotonic() > ends_at:
                    raise DevkitError(f"it was ended after {seconds:.0f} s")
        except BaseException as error:
            process.kill()
            output = process.communicate()[1][-4000:]
            if isinstance(error, DevkitError):
                raise DevkitError(f"{error}\n{output}".strip()) from None
            raise
