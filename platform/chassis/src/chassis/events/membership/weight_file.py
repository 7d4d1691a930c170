"""The file with the weight of a version: its share of the lanes in percent."""

from pathlib import Path

import structlog

from chassis.telemetry import metrics

__all__ = ["WeightFile"]

_log = structlog.get_logger(__name__)
_MOST_BYTES = 100
# Pods of all versions mount one ConfigMap where a tool decides which of them are the stable ones.
_REST = "rest"


class WeightFile:
    """The weight that a file holds at the moment, such as the mounted key of a ConfigMap.

    Attributes:
        weight: The percentage as last read; None for a version that shares the lanes that other
            versions' weights leave: without a file, or if the file says `rest`.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._reason = ""
        self._was_empty = False
        self._was_read = False
        self.weight: int | None = None

    def read(self) -> bool:
        """Read the file again; return whether the weight has changed.

        The weight is 0 while the file holds no percentage, because a canary that takes no events
        does less harm than one that takes too many. A file that has just become empty changes
        nothing, because it may be in the middle of a write: a shell empties a file first.
        """
        if self._path is None:
            return False
        before, was_read, self._was_read = self.weight, self._was_read, True
        try:
            text = _text_of(self._path)
            if self._is_being_written(text, was_read):
                return False
            self.weight = None if text == _REST else _percentage(text)
            self._reason = ""
        except (OSError, ValueError) as error:
            self.weight = 0
            if str(error) != self._reason:
                self._reason = str(error)
                _log.error(
                    "weight file cannot be read; this version takes no events",
                    reason=self._reason,
                    file=str(self._path),
                )
        if self.weight is None:
            metrics.EVENT_LANES_WEIGHT.forget()
        else:
            metrics.EVENT_LANES_WEIGHT.set(self.weight)
        if was_read and before != self.weight:
            _log.info("weight changed; reassigning lanes", before=before, weight=self.weight)
        return before != self.weight

    def _is_being_written(self, text: str, was_read: bool) -> bool:
        """Whether the file said something when it was last read, and is empty now."""
        was_empty, self._was_empty = self._was_empty, not text
        return not text and not was_empty and was_read


def _text_of(file: Path) -> str:
    """Return the text of a file, as far as a percentage may reach.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as content:
        return content.read(_MOST_BYTES).decode(errors="replace").strip()


def _percentage(text: str) -> int:
    """Return the number in a text.

    Raises:
        ValueError: it is something else than a whole number from 0 to 100.
    """
    if not (text.isascii() and text.isdigit() and int(text) <= 100):
        raise ValueError(f"{text!r} is not a whole number from 0 to 100")
    return int(text)
