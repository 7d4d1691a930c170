"""Processes of services, forked from a server that has imported the libraries.

A service's imports take more than 1 s of processor time, and its own code less than 0.1 s. Forked
services also share the memory of what was imported.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

from devkit.fork_server.messages import Ended, Program, Signal, Stale, Started
from devkit.replica import Replica
from localservers.process import ChildProcess

__all__ = ["ForkServer", "ForkServers", "ForkedProcess", "prepare", "start_forked"]

# Variables that nothing reads before the service runs. A library may read any other one as it is
# imported, and Python reads its own when it starts.
_READ_LATE = ("APP_", "OTEL_")
_UNBUFFERED = "PYTHONUNBUFFERED"


class ForkServer:
    """A fork server and the connection to it. Safe to use from several threads.

    All its processes end with it, and it ends with this process, however that ends.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._codes: dict[int, int] = {}
        self._running: set[int] = set()
        self._control, inherited = Pipe()
        with inherited:
            self._process = ChildProcess(
                [sys.executable, "-m", "devkit.fork_server.server", str(inherited.fileno())],
                log=Path(os.devnull),
                cwd=Path.cwd(),
                inherits=[inherited.fileno()],
            )
        atexit.register(self.kill)
        self.owner = os.getpid()
        self.usable = True
        """Whether it can start processes: it lives, and its code is that of the files."""

    def start(self, program: Program) -> "ForkedProcess | None":
        """Start a program; return None if the server is not usable any more."""
        with self._lock:
            try:
                self._control.send(program)
                while not isinstance(message := self._receive(), Started | Stale):
                    pass
            except (EOFError, OSError):
                self._on_end()
                return None
            if isinstance(message, Stale):
                self.usable = False
                self._end_if_needless()
                return None
            self._running.add(message.pid)
            return ForkedProcess(self, message.pid)

    def exit_code(self, pid: int) -> int | None:
        """Return a process' exit code, negative for a signal; None while it runs."""
        with self._lock:
            try:
                while pid not in self._codes and self._control.poll():
                    self._receive()
            except (EOFError, OSError):
                self._on_end()
            return self._codes.get(pid)

    def wait(self, pid: int) -> None:
        """Wait until a process has ended."""
        with self._lock:
            try:
                while pid not in self._codes:
                    self._receive()
            except (EOFError, OSError):
                self._on_end()

    def send(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to a process; do nothing if it is dead."""
        with self._lock, suppress(OSError):
            self._control.send(Signal(pid, number))

    def kill(self) -> None:
        """End the server and all its processes, and wait for the server's end."""
        with self._lock:
            self._process.kill()
            self._on_end()
        atexit.unregister(self.kill)

    def _receive(self) -> object:
        message = self._control.recv()
        if isinstance(message, Ended):
            self._running.discard(message.pid)
            self._codes[message.pid] = message.code
            self._end_if_needless()
        return message

    def _end_if_needless(self) -> None:
        """End a server that can start nothing more, when its last process has ended."""
        if not self.usable and not self._running:
            self.kill()

    def _on_end(self) -> None:
        """Note that the kernel has killed all processes, because the server has ended."""
        self.usable = False
        self._codes |= dict.fromkeys(self._running, -signal.SIGKILL)
        self._running.clear()


class ForkedProcess:
    """A process of a fork server, with the face of a `ChildProcess`."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid

    @property
    def running(self) -> bool:
        """Whether the process lives, paused or not."""
        return self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process lives."""
        return self._server.exit_code(self.pid)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end; do nothing if the process is dead."""
        self.send(signal.SIGKILL)
        self._server.wait(self.pid)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; do nothing if the process is dead."""
        self._server.send(self.pid, number)


class ForkServers:
    """The fork server of this process, which is replaced when it is not usable any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: ForkServer | None = None
        self._read_by_python = _read_by_python()

    def prepare(self) -> None:
        """Start a server now, which imports the libraries concurrently with this process."""
        if self._may_fork({}):
            self._usable()

    def start(self, replica: Replica) -> ForkedProcess | None:
        """Start a replica's process as a fork; return None if it must be a new interpreter.

        On macOS, system libraries may crash in forked processes.
        """
        if not self._may_fork(replica.environment):
            return None
        program = Program(
            name=replica.name,
            package=replica.package,
            folder=replica.folder,
            log=replica.log,
            environment=os.environ | replica.environment,
        )
        # A second server has the present code. If it cannot import that, a new interpreter writes
        # the error to the log of the service.
        return self._usable().start(program) or self._usable().start(program)

    def close(self) -> None:
        """End the usable server and its processes."""
        with self._lock:
            if self._current is not None:
                self._current.kill()

    def _may_fork(self, added: Mapping[str, str]) -> bool:
        """Return whether a process with these additional variables is the same as a new one."""
        return (
            sys.platform == "linux"
            and self._read_by_python == _read_by_python()
            and all(name == _UNBUFFERED or name.startswith(_READ_LATE) for name in added)
        )

    def _usable(self) -> ForkServer:
        with self._lock:
            server = self._current
            if server is None or not server.usable or server.owner != os.getpid():
                server = self._current = ForkServer()
            return server


def _read_by_python() -> dict[str, str]:
    """Return the variables of this process that the interpreter reads when it starts."""
    return {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}


_servers = ForkServers()
prepare = _servers.prepare
start_forked = _servers.start
