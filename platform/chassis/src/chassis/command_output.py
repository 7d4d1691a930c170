"""The output of a command, in any locale and for a reader that may close the pipe early."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["command_output"]

# A shell reports this code for a process that SIGPIPE ended.
_BROKEN_PIPE = 128 + 13
# The code is EX_IOERR of sysexits.h.
_INPUT_OUTPUT = 74


@contextmanager
def command_output() -> Iterator[None]:
    """Return a context manager in which printing never ends with a traceback.

    Characters that the locale lacks are printed as escapes. When the reader closes the pipe, as
    `head` does, the command exits with code 141; if the output cannot be written, for example to a
    full disk, it prints one line and exits with code 74.
    """
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stdout, io.TextIOWrapper):
        yield
        return
    before = sys.stdout
    sys.stdout = _Output(before)
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        finally:
            sys.stdout = before


class _Output(io.TextIOWrapper):
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
            self._exit(error)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._exit(error)

    def _exit(self, error: OSError) -> NoReturn:
        """End the process with an exit code for an output that cannot be written."""
        # The buffer is flushed to /dev/null, so that neither the rest of the command nor the
        # interpreter's exit fails with it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(_BROKEN_PIPE)
        with contextlib.suppress(OSError):
            print(f"standard output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(_INPUT_OUTPUT)

    def __del__(self) -> None:
        # The buffer stays open, because it belongs to the original stream.
        with contextlib.suppress(ValueError):
            self.detach()
