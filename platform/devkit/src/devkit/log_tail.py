"""Reads the lines that are added to a log file."""

from collections.abc import Iterator
from pathlib import Path

__all__ = ["LogTail", "current_logs", "set_logs_aside"]

_PREVIOUS = ".previous.log"


class LogTail:
    """Remembers how far a file was read. A file that is not there yet is empty."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0
        self._rest = b""

    def new_lines(self) -> Iterator[str]:
        """Every line finished since the last call."""
        try:
            size = self._file.stat().st_size
        except FileNotFoundError:
            return
        if size < self._position:  # another run began a new file
            self._position, self._rest = 0, b""
        if size == self._position:
            return
        with self._file.open("rb") as log:
            log.seek(self._position)
            content = self._rest + log.read()
            self._position = log.tell()
        *lines, self._rest = content.split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")


def current_logs(data: Path) -> list[Path]:
    """The services' log files of the last run, in the order of their names."""
    files = (data / "logs").glob("*.log")
    return sorted(file for file in files if not file.name.endswith(_PREVIOUS))


def set_logs_aside(data: Path) -> None:
    """A new run begins: no log of an older one is taken for its own."""
    for file in current_logs(data):
        file.replace(file.with_suffix(_PREVIOUS))
