"""Runs the command-line tools that a cluster is worked with; quotes what they say on failing."""

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
    """A tool ended with an error, or took too long; the text holds the end of what it said."""


def missing(tools: Sequence[str]) -> list[str]:
    """A line for each of these tools that is not on the PATH, with where to get it."""
    return [
        f"{tool} is not on the PATH: {_INSTALL.get(tool, 'install it')}"
        for tool in tools
        if shutil.which(tool) is None
    ]


def run(*command: str, input: str | None = None, seconds: float | None = None) -> str:
    """Run a tool to its end and return its standard output.

    Raises ToolFailed if it fails, or runs longer than `seconds`, and DevkitError if it is missing.
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
        )
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{_shown(command)} did not end in {seconds:g} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ToolFailed("\n".join([f"{_shown(command)} failed:", *said[-_SHOWN_LINES:]]))
    return done.stdout


def _shown(command: Sequence[str]) -> str:
    line = " ".join(command)
    return line if len(line) <= 160 else f"{line[:157]}…"
