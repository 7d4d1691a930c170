"""The output of log lines. Writing to it never raises and never waits for the reader.

A line is written at once if the reader keeps up. While a pipe is full, up to 1 MiB of lines wait
for a separate thread. Lines that cannot be written, or exceed that limit, are dropped and counted.
As soon as lines can be written again, one of them says how many are missing.
"""

import contextlib
import errno
import io
import os
import select
import stat
import threading
import time
from collections import deque
from typing import BinaryIO, TextIO

import structlog

from chassis.telemetry import metrics

__all__ = ["LogOutput"]

_MAX_WAITING_BYTES = 1024 * 1024
# The bytes that a writable pipe accepts at once, without waiting for its reader.
_PIECE_BYTES = min(select.PIPE_BUF, 4096)
_log = structlog.get_logger("chassis")


class LogOutput(io.TextIOBase):
    """A text stream that writes to another one: a stream of the process, or one in memory.

    With None, as in a process that was started without standard output, it discards everything.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._fd = _file_descriptor(stream)
        self._is_pipe = self._fd is not None and not _is_file(self._fd)
        self._writable = _writable_poll(self._fd) if self._is_pipe else None
        self._terminal = self._is_pipe and os.isatty(self._fd or 0)
        # Files and pipes are UTF-8, because the programs that read them do not know this locale.
        self._encoding = (stream.encoding if stream and self._terminal else None) or "utf-8"
        # The lock is reentrant, because garbage collection may log while a line is written.
        self._lock = threading.RLock()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._writer: threading.Thread | None = None
        self._line_cut_off = False
        self._dropped = 0
        self._drop_reason = ""
        with contextlib.suppress(Exception):
            if stream is not None:
                stream.flush()

    def write(self, text: str) -> int:
        """Write the text now or soon, or count its lines as dropped."""
        try:
            if self._fd is not None:
                self._write_bytes(text.encode(self._encoding, "backslashreplace"))
            elif self._stream is not None:
                with self._lock:
                    self._stream.write(text)
        except Exception as error:
            self.drop(text.count("\n"), error)
        else:
            if self._dropped and self._writer is None:
                self._report_dropped()
        return len(text)

    def drop(self, lines: int, error: Exception) -> None:
        """Count lines that could not be written, because of `error`."""
        number = error.errno if isinstance(error, OSError) else None
        with self._lock:
            self._dropped += lines
            self._drop_reason = os.strerror(number) if number else type(error).__name__
        metrics.LOG_LINES_DROPPED.inc(lines)

    def drain(self, seconds: float) -> None:
        """Wait until all lines are written, for at most `seconds`."""
        ends_at = time.monotonic() + seconds
        while self._writer is not None and time.monotonic() < ends_at:
            time.sleep(0.01)

    def flush(self) -> None:
        """Do nothing: lines are not buffered."""

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("there is no standard output")
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._terminal

    def writable(self) -> bool:
        return True

    @property
    def buffer(self) -> BinaryIO:
        """The buffer of the underlying stream, for code that writes bytes."""
        if self._stream is None:
            raise io.UnsupportedOperation("there is no standard output")
        return self._stream.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def _write_bytes(self, data: bytes) -> None:
        """Write the bytes that the reader accepts now, and leave the others to the thread."""
        assert self._fd is not None
        with self._lock:
            if self._writer is not None:
                self._enqueue(data)
                return
            if self._line_cut_off:
                # The newline ends that line, so that this one stays readable.
                data = b"\n" + data
            length = len(data)
            try:
                # If the reader has closed the pipe, poll returns and the write fails.
                while data and (self._writable is None or self._writable.poll(0)):
                    piece = data if self._writable is None else data[:_PIECE_BYTES]
                    data = data[os.write(self._fd, piece) :]
            except BlockingIOError:
                pass
            except OSError:
                self._line_cut_off = self._line_cut_off or len(data) < length
                raise
            self._line_cut_off = False
            if data:
                self._enqueue(data, partly_written=len(data) < length)

    def _enqueue(self, data: bytes, *, partly_written: bool = False) -> None:
        """Leave the bytes to the thread, or drop them if too many wait."""
        if self._waiting_bytes + len(data) > _MAX_WAITING_BYTES:
            self._line_cut_off = partly_written
            self.drop(data.count(b"\n"), BlockingIOError(errno.EAGAIN, "the reader does not read"))
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_waiting, name="log", daemon=True)
            self._writer.start()

    def _write_waiting(self) -> None:
        """Write waiting lines until none is left, on a thread because a write may block."""
        assert self._fd is not None
        while True:
            with self._lock:
                if not self._waiting:
                    self._writer = None
                    break
                data = self._waiting.popleft()
            try:
                _write_all(self._fd, b"\n" + data if self._line_cut_off else data)
                self._line_cut_off = False
            except OSError as error:
                self._line_cut_off = True
                self.drop(data.count(b"\n"), error)
            with self._lock:
                self._waiting_bytes -= len(data)
        if self._dropped:
            self._report_dropped()

    def _report_dropped(self) -> None:
        """Log how many lines were dropped.

        The lock is not held, because the line comes back here through locks of logging.
        """
        lines, self._dropped = self._dropped, 0
        _log.warning("log lines dropped", lines=lines, reason=self._drop_reason)
        if self._dropped:  # This line could not be written either.
            with self._lock:
                self._dropped += lines


def _file_descriptor(stream: TextIO | None) -> int | None:
    """Return the stream's descriptor, None if it has none, as a stream in memory."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _writable_poll(fd: int | None) -> select.poll:
    """Return a poll that waits until the descriptor can be written to."""
    poll = select.poll()
    if fd is not None:
        poll.register(fd, select.POLLOUT)
    return poll


def _write_all(fd: int, data: bytes) -> None:
    """Write all bytes, waiting for the reader."""
    writable = _writable_poll(fd)
    while data:
        writable.poll()
        with contextlib.suppress(BlockingIOError):
            data = data[os.write(fd, data[:_PIECE_BYTES]) :]
