"""What a command prints: in any locale, and to a reader that may leave before its end."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["command_output"]

_READER_GONE = 128 + 13  # as the shell has it of a process that SIGPIPE ended
_INPUT_OUTPUT = 74  # sysexits.h


@contextmanager
def command_output() -> Iterator[None]:
    """Within it, characters that the locale lacks are printed by their numbers.

    When the reader has left, as `head` does, the command ends quietly with exit code 141; output
    that cannot be written, to a full disk for example, is one line and exit code 74.
    """
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stdout, io.TextIOWrapper):
        yield
        return
    before = sys.stdout
    sys.stdout = _Printed(before)
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        finally:
            sys.stdout = before


class _Printed(io.TextIOWrapper):
    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(
            stream.buffer,
            stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._lost(error)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> NoReturn:
        # What is held back must not fail the rest of the command, nor the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(_READER_GONE)
        with contextlib.suppress(OSError):
            print(f"standard output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(_INPUT_OUTPUT)

    def __del__(self) -> None:
        # The stream below is not its own to close.
        with contextlib.suppress(ValueError):
            self.detach()
