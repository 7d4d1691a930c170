"""The part of a local server that does not depend on its program."""

from pathlib import Path

from localservers.process import ChildProcess, ServerFailed

__all__ = ["LocalServer"]


class LocalServer:
    """A server that is one child process at a time.

    Args:
        name: the name of its program in messages.
        log: the file of its output.
    """

    def __init__(self, name: str, log: Path) -> None:
        self._name = name
        self._log = log
        self._process: ChildProcess | None = None

    @property
    def pid(self) -> int:
        """The process's id. Raises ServerFailed if it does not run."""
        return self._running_process().pid

    @property
    def running(self) -> bool:
        """Whether the process lives, paused or not."""
        return self._process is not None and self._process.running

    @property
    def log(self) -> Path:
        """The file of its output, to which every run appends."""
        return self._log

    def _running_process(self) -> ChildProcess:
        """Return the process. Raises ServerFailed if it does not run."""
        if self._process is None or not self._process.running:
            raise ServerFailed(f"{self._name} does not run: start it first")
        return self._process
