"""Where log lines go. Writing there never raises and never waits for whoever reads.

A line goes out at once while the other side takes it. While a pipe is full, lines wait for a thread
of their own, up to a limit; what cannot be written, or finds no more room, is dropped and counted.
Once lines go out again, one of them says how many are missing.
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

_MOST_WAITING_BYTES = 1024 * 1024
# What a pipe that can be written to takes at once, without waiting for its reader.
_PIECE_BYTES = min(select.PIPE_BUF, 4096)
_log = structlog.get_logger("chassis")


class LogOutput(io.TextIOBase):
    """A text stream on top of another: that of a process, or one in memory.

    None, as of a process that was started without standard output, takes everything and keeps
    nothing.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._fd = _descriptor(stream)
        self._piecemeal = self._fd is not None and not _is_file(self._fd)
        self._now = _poll(self._fd) if self._piecemeal else None
        self._terminal = self._piecemeal and os.isatty(self._fd or 0)
        # Files and pipes are read by programs, which are told nothing of this machine's locale.
        self._encoding = (stream.encoding if stream and self._terminal else None) or "utf-8"
        # Reentrant: a collection of garbage may log in the midst of a line.
        self._lock = threading.RLock()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._writer: threading.Thread | None = None
        self._torn = False
        self._dropped = 0
        self._why = ""
        with contextlib.suppress(Exception):
            if stream is not None:
                stream.flush()

    def write(self, text: str) -> int:
        """Write it now or soon, or count its lines as dropped."""
        try:
            if self._fd is not None:
                self._put(text.encode(self._encoding, "backslashreplace"))
            elif self._stream is not None:
                with self._lock:
                    self._stream.write(text)
        except Exception as error:
            self.drop(text.count("\n"), error)
        else:
            if self._dropped and self._writer is None:
                self._tell()
        return len(text)

    def drop(self, lines: int, error: Exception) -> None:
        """Count lines that could not be written."""
        number = error.errno if isinstance(error, OSError) else None
        with self._lock:
            self._dropped += lines
            self._why = os.strerror(number) if number else type(error).__name__
        metrics.LOG_LINES_DROPPED.inc(lines)

    def drain(self, seconds: float) -> None:
        """Wait until nothing waits to be written, at most so long."""
        ends_at = time.monotonic() + seconds
        while self._writer is not None and time.monotonic() < ends_at:
            time.sleep(0.01)

    def flush(self) -> None:
        """Nothing is held back."""

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
        """What lies under the stream itself, for those who write bytes."""
        if self._stream is None:
            raise io.UnsupportedOperation("there is no standard output")
        return self._stream.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def _put(self, data: bytes) -> None:
        assert self._fd is not None
        with self._lock:
            if self._writer is not None:
                self._wait_in_line(data)
                return
            if self._torn:  # what was cut off must not swallow this line too
                data = b"\n" + data
            length = len(data)
            try:
                # A reader that is gone shows at the write.
                while data and (self._now is None or self._now.poll(0)):
                    piece = data if self._now is None else data[:_PIECE_BYTES]
                    data = data[os.write(self._fd, piece) :]
            except BlockingIOError:
                pass
            except OSError:
                self._torn = self._torn or len(data) < length
                raise
            self._torn = False
            if data:
                self._wait_in_line(data, begun=len(data) < length)

    def _wait_in_line(self, data: bytes, *, begun: bool = False) -> None:
        if self._waiting_bytes + len(data) > _MOST_WAITING_BYTES:
            self._torn = begun
            self.drop(data.count(b"\n"), BlockingIOError(errno.EAGAIN, "nobody reads"))
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_waiting, name="log", daemon=True)
            self._writer.start()

    def _write_waiting(self) -> None:
        """Until nothing waits, on a thread: it may stand still for as long as it takes."""
        assert self._fd is not None
        while True:
            with self._lock:
                if not self._waiting:
                    self._writer = None
                    break
                data = self._waiting.popleft()
            try:
                _write_all(self._fd, b"\n" + data if self._torn else data)
                self._torn = False
            except OSError as error:
                self._torn = True
                self.drop(data.count(b"\n"), error)
            with self._lock:
                self._waiting_bytes -= len(data)
        if self._dropped:
            self._tell()

    def _tell(self) -> None:
        # Without the lock: the line comes back here by way of others' locks.
        lines, self._dropped = self._dropped, 0
        _log.warning("log lines dropped", lines=lines, reason=self._why)
        if self._dropped:  # it was not written either
            with self._lock:
                self._dropped += lines


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _poll(fd: int | None) -> select.poll:
    poll = select.poll()
    if fd is not None:
        poll.register(fd, select.POLLOUT)
    return poll


def _write_all(fd: int, data: bytes) -> None:
    until_it_takes = _poll(fd)
    while data:
        until_it_takes.poll()
        with contextlib.suppress(BlockingIOError):
            data = data[os.write(fd, data[:_PIECE_BYTES]) :]
