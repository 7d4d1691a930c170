"""Log files of the services: new lines, the files of a run, and those of older runs."""

from collections.abc import Iterator
from pathlib import Path

__all__ = ["LogTail", "current_logs", "set_logs_aside"]

_PREVIOUS = ".previous.log"


class LogTail:
    """A file read line by line from the position of the last read; it need not exist yet."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0
        self._rest = b""

    def new_lines(self) -> Iterator[str]:
        """Yield every line completed since the last call."""
        try:
            size = self._file.stat().st_size
        except FileNotFoundError:
            return
        if size < self._position:  # A new run has replaced the file.
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
    """Return the services' log files of the last run, sorted by name."""
    files = (data / "logs").glob("*.log")
    return sorted(file for file in files if not file.name.endswith(_PREVIOUS))


def set_logs_aside(data: Path) -> None:
    """Rename the logs of the last run, so that they are not read as those of a new run."""
    for file in current_logs(data):
        file.replace(file.with_suffix(_PREVIOUS))
