"""Messages between the runner and its fork server."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "Program", "Refused", "Signal", "Stale", "Started"]


@dataclass(frozen=True, slots=True)
class Program:
    """A request to run `python -m <package> <arguments>` in a new process.

    Args:
        name: the name of the process in `ps` and `top`.
        package: the package to run.
        arguments: those of its command line.
        folder: the working directory.
        log: the file that its output is appended to.
        environment: its variables.
    """

    name: str
    package: str
    arguments: tuple[str, ...]
    folder: Path
    log: Path
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Signal:
    """A request to send a signal to a process that the server has started."""

    pid: int
    number: int


@dataclass(frozen=True, slots=True)
class Started:
    """The answer to a `Program` that runs now."""

    pid: int


@dataclass(frozen=True, slots=True)
class Stale:
    """The answer to a `Program` if code that the server has imported was changed since."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a `Program` for which the system allows no further process."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A process has ended, with its exit code, negative for a signal."""

    pid: int
    code: int
