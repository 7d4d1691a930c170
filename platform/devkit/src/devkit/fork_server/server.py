"""The fork server's process: it has imported the libraries of a service, and forks services.

It has one thread and opens nothing but its control connection, so that a child process starts
like a new one.
"""

import ctypes
import gc
import importlib
import io
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection, wait
from typing import NoReturn

from devkit.fork_server.messages import Ended, Program, Refused, Signal, Stale, Started

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


class _Server:
    """Starts programs in forked processes and reports how they end."""

    def __init__(self, control: Connection) -> None:
        self._control = control
        self._processes: set[int] = set()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._wakeup, writer = socket.socketpair()
        self._writer = writer
        for end in (self._wakeup, writer):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        self._code = {file: _state_of(file) for file in files if file is not None}

    def serve(self) -> Program | None:
        """Return a program in each new process; None in this one when the runner has ended."""
        try:
            while True:
                for ready in wait([self._control, self._wakeup]):
                    if ready is self._control:
                        program = self._answer(self._control.recv())
                        if program is not None:
                            return program
                    else:
                        self._wakeup.recv(4096)
                        self._report_ends()
        except (EOFError, OSError):
            return None

    def _answer(self, request: Program | Signal) -> Program | None:
        """Carry out a request; return the program in the new process that shall run it."""
        if isinstance(request, Signal):
            if request.pid in self._processes:
                os.kill(request.pid, request.number)
        elif any(_state_of(file) != state for file, state in self._code.items()):
            self._control.send(Stale())
        else:
            server = os.getpid()
            try:
                pid = os.fork()
            except OSError:
                self._control.send(Refused())
                return None
            if pid == 0:
                self._leave_to(server, request)
                return request
            self._processes.add(pid)
            self._control.send(Started(pid))
        return None

    def _leave_to(self, server: int, program: Program) -> None:
        """Make the forked process independent of the server, except that it ends with it."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (self._control, self._wakeup, self._writer):
            end.close()
        os.setsid()
        self._libc.prctl(_PR_SET_NAME, program.name.encode(), 0, 0, 0)
        self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != server:
            os._exit(1)

    def _report_ends(self) -> None:
        while self._processes:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._processes.discard(pid)
            self._control.send(Ended(pid, os.waitstatus_to_exitcode(status)))


def main(descriptor: int, libraries: Sequence[str]) -> None:
    """Import libraries, and serve on the inherited descriptor of a connection to the runner."""
    # Collections during the imports find almost no garbage and take a seventh of their time.
    gc.disable()
    _import(libraries)
    # Objects that the collector never visits stay in memory that all processes share. A collection
    # now would leave gaps in it, and each new object in a gap makes a process copy a page.
    gc.freeze()
    # A service makes 10,000 objects until it is ready, which stay, and then sets its own threshold.
    gc.set_threshold(20_000)
    gc.enable()
    program = _Server(Connection(descriptor)).serve()
    if program is not None:
        _run(program)


def _import(libraries: Sequence[str]) -> None:
    for library in libraries:
        if library != "uvloop" or find_spec(library):  # Not every system has it.
            importlib.import_module(library)


# Python keeps frames in blocks of 16 KiB. Nested imports cross the end of a block 3,000 times, and
# each time it maps a new one and unmaps it again, which takes a twentieth of the imports' time. A
# frame that needs a block of 256 KiB, and fills half of it, leaves room for all that it calls.
_import.__code__ = _import.__code__.replace(co_stacksize=2**14 + 1)


def _run(program: Program) -> NoReturn:
    """Run a program as `python -u -m <package> <arguments>` would."""
    log = os.open(program.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    sys.stdout = _unbuffered(1, errors="strict")
    sys.stderr = _unbuffered(2, errors="backslashreplace")
    os.environ.clear()
    os.environ.update(program.environment)
    os.chdir(program.folder)
    sys.path[0] = str(program.folder)
    sys.argv = [program.package, *program.arguments]
    importlib.invalidate_caches()
    runpy.run_module(program.package, run_name="__main__", alter_sys=True)
    sys.exit()


def _unbuffered(descriptor: int, *, errors: str) -> io.TextIOWrapper:
    raw = open(descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(raw, encoding="utf-8", errors=errors, write_through=True)


def _state_of(file: str) -> tuple[int, int] | None:
    """Return the time and size of a file; None if there is no such file."""
    try:
        # A path object for each of 1,200 modules would take more than half of the time.
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
