"""Processes of services, forked from a server that has imported the libraries.

A service's imports take more than 1 s of processor time, and its own code less than 0.1 s. Forked
services also share the memory of what was imported.
"""

import atexit
import os
import select
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

from devkit.fork_server.messages import Ended, Program, Refused, Signal, Stale, Started
from devkit.replica import Replica
from localservers.process import ChildProcess

__all__ = ["LIBRARIES", "ForkServer", "ForkServers", "ForkedProcess", "prepare", "start_forked"]

LIBRARIES = (
    "chassis._commands",
    "chassis._lifecycle",
    "chassis._process",
    "chassis.checks",
    "chassis.command_output",
    "chassis.database.upgrade",
    "chassis.paging",
    "chassis.service",
    "chassis.shadow_state",
    "encodings.idna",
    "pydantic.v1",
    "uvicorn.lifespan.off",
    "uvloop",
)
"""The libraries that a service imports until it is ready.

None of them starts a thread, or reads a variable of the environment that the runner gives to a
service.
"""

# Variables that nothing reads before the service runs. A library may read any other one as it is
# imported, and Python reads its own when it starts.
_READ_LATE = ("APP_", "OTEL_")
# OpenTelemetry reads these as it is imported.
_READ_EARLY = {"OTEL_PROPAGATORS", "OTEL_PYTHON_CONTEXT"}
_UNBUFFERED = "PYTHONUNBUFFERED"

PATIENCE_SECONDS = 60.0
"""Maximum time to wait for a server's answer or for the end of a killed process."""


class ForkServer:
    """A fork server and the connection to it. Safe to use from several threads.

    All its processes end with it, and it ends with this process, however that ends. A server that
    does not answer for `PATIENCE_SECONDS` is killed.
    """

    def __init__(self, libraries: Sequence[str] = LIBRARIES) -> None:
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
    """A process of a fork server, with the face of a `ChildProcess`."""

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


class ForkServers:
    """The fork server of this process, which is replaced when it is not usable any more.

    Args:
        libraries: what a server imports before it starts processes.
    """

    def __init__(self, libraries: Sequence[str] = LIBRARIES) -> None:
        self._libraries = libraries
        self._lock = threading.Lock()
        self._current: ForkServer | None = None
        self._read_by_python = _read_by_python()

    def prepare(self, also: Sequence[str] = ()) -> None:
        """Start a server now, which imports the libraries concurrently with this process.

        `also` are further libraries, for this server and for later ones.
        """
        self._libraries = tuple(dict.fromkeys((*self._libraries, *also)))
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
            arguments=replica.arguments,
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
            and not _READ_EARLY & added.keys()
            and all(name == _UNBUFFERED or name.startswith(_READ_LATE) for name in added)
        )

    def _usable(self) -> ForkServer:
        with self._lock:
            server = self._current
            if server is None or not server.usable or server.owner != os.getpid():
                server = self._current = ForkServer(self._libraries)
            return server


def _read_by_python() -> dict[str, str]:
    """Return the variables of this process that the interpreter reads when it starts."""
    return {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}


_servers = ForkServers()
prepare = _servers.prepare
start_forked = _servers.start
