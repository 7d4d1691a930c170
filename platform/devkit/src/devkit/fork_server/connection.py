"""The connection to a fork server, and to the processes that it has started."""

import atexit
import os
import select
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

from devkit.fork_server.messages import Ended, Program, Refused, Signal, Stale, Started
from localservers.process import ChildProcess

__all__ = ["ForkServer", "ForkedProcess"]

PATIENCE_SECONDS = 60.0
"""Maximum time to wait for a server's answer or for the end of a killed process."""


class ForkServer:
    """A fork server and the connection to it. Safe to use from several threads.

    All its processes end with it, and it ends with this process, however that ends. A server that
    does not answer for `PATIENCE_SECONDS` is killed.
    """

    def __init__(self, libraries: Sequence[str]) -> None:
        self._lock = threading.RLock()
        self._running: dict[int, ForkedProcess] = {}
        self._control, inherited = Pipe()
        self._reported = select.poll()
        self._reported.register(self._control, select.POLLIN)
        with inherited:
            self._process = ChildProcess(
                [
                    sys.executable,
                    "-m",
                    "devkit.fork_server.server",
                    str(inherited.fileno()),
                    *libraries,
                ],
                log=Path(os.devnull),
                cwd=Path.cwd(),
                inherits=[inherited.fileno()],
            )
        atexit.register(self.kill)
        self.owner = os.getpid()
        self.usable = True
        """Whether it can start processes: it lives, and its code is that of the files."""

    def start(self, program: Program) -> "ForkedProcess | None":
        """Start a program; return None if the server cannot."""
        with self._lock:
            try:
                self._control.send(program)
                while not isinstance(message := self._receive(), Started | Stale | Refused):
                    pass
            except (EOFError, OSError):
                self.kill()
                return None
            if isinstance(message, Started):
                process = self._running[message.pid] = ForkedProcess(self, message.pid)
                return process
            if isinstance(message, Stale):
                self.usable = False
                self._end_if_needless()
            return None

    def notice_ends(self, process: "ForkedProcess") -> None:
        """Learn of processes that have ended, as long as this one is not known to have."""
        with self._lock:
            try:
                while process.code is None and self._reported.poll(0):
                    self._receive()
            except (EOFError, OSError):
                self.kill()

    def wait(self, process: "ForkedProcess") -> None:
        """Wait until a process has ended."""
        with self._lock:
            try:
                while process.code is None:
                    self._receive()
            except (EOFError, OSError):
                self.kill()

    def send(self, process: "ForkedProcess", number: signal.Signals) -> None:
        """Send a signal to a process; do nothing if it is dead."""
        with self._lock, suppress(OSError):
            if process.code is None:
                self._control.send(Signal(process.pid, number))

    def kill(self) -> None:
        """End the server and all its processes, and wait for the server's end."""
        with self._lock:
            self._process.kill()
            self._control.close()
            self.usable = False
            # The kernel kills the processes with the server.
            while self._running:
                self._running.popitem()[1].code = -signal.SIGKILL
        atexit.unregister(self.kill)

    def _receive(self) -> object:
        """Return the next message.

        Raises:
            EOFError, OSError: the server has ended, or does not answer.
        """
        if not self._control.poll(PATIENCE_SECONDS):
            raise TimeoutError("the fork server does not answer")
        message = self._control.recv()
        # A process may have the id of one that ended before it.
        if isinstance(message, Ended) and (process := self._running.pop(message.pid, None)):
            process.code = message.code
            self._end_if_needless()
        return message

    def _end_if_needless(self) -> None:
        """End a server that can start nothing more, when its last process has ended."""
        if not self.usable and not self._running:
            self.kill()


class ForkedProcess:
    """A process of a fork server, with the interface of a `ChildProcess`."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid
        self.code: int | None = None
        """The exit code as far as the server has reported it."""

    @property
    def running(self) -> bool:
        """Whether the process lives, paused or not."""
        return self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process lives."""
        self._server.notice_ends(self)
        return self.code

    def kill(self) -> None:
        """Send SIGKILL and wait for the end; do nothing if the process is dead."""
        self.send(signal.SIGKILL)
        self._server.wait(self)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; do nothing if the process is dead."""
        self._server.send(self, number)
