"""Execution of command-line tools such as kubectl, with their output in errors."""

import shutil
import subprocess
from collections.abc import Sequence

from devkit.errors import DevkitError

__all__ = ["ToolFailed", "missing", "run"]

_INSTALL = {
    "docker": "https://docs.docker.com/engine/install/",
    "helm": "https://helm.sh/docs/intro/install/ (4, or 3.20)",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
}
_SHOWN_LINES = 15


class ToolFailed(DevkitError):
    """A tool failed or took too long; the message contains the end of its output."""


def missing(tools: Sequence[str]) -> list[str]:
    """Return a line for each of these tools that is not on the PATH, with where to get it."""
    return [
        f"{tool} is not on the PATH: {_INSTALL.get(tool, 'install it')}"
        for tool in tools
        if shutil.which(tool) is None
    ]


def run(
    *command: str,
    input: str | None = None,
    seconds: float | None = None,
    interruptible: bool = True,
) -> str:
    """Run a tool to its end and return its standard output.

    Ctrl-C in the terminal reaches the tool as well, unless it is not `interruptible`.

    Raises:
        ToolFailed: the tool failed, or ran for more than `seconds`.
        DevkitError: the tool is not on the PATH.
    """
    if lines := missing(command[:1]):
        raise DevkitError(lines[0])
    try:
        done = subprocess.run(
            command,
            input=input,
            capture_output=True,
            encoding="utf-8",
            timeout=seconds,
            check=False,
            process_group=None if interruptible else 0,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{_shortened(command)} did not end in {seconds:g} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ToolFailed("\n".join([f"{_shortened(command)} failed:", *said[-_SHOWN_LINES:]]))
    return done.stdout


def _shortened(command: Sequence[str]) -> str:
    line = " ".join(command)
    return line if len(line) <= 160 else f"{line[:157]}…"
