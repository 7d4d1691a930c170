"""Child processes that end with their parent and can be killed, paused and resumed."""

import atexit
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["ChildProcess", "Descendants", "PortInUse", "ServerFailed"]


class ServerFailed(RuntimeError):
    """A server did not start or stop; the message contains its output or says what to do."""


class PortInUse(ServerFailed):
    """Another process listens on the server's port."""


# Another program runs before the server, because code in the forked child of a process with threads
# may hang. The request for a signal at the parent's death follows the change of user, which would
# clear it. A parent that died before the request is detected by its changed id.
_CHECK = 'test "$PPID" = "$0" || exit 1; exec "$@"'
# A second Python is that program where there is no setpriv. It starts in 15 ms instead of 2.
_WRAPPER = """
import ctypes, os, sys
parent, user, group = map(int, sys.argv[1:4])
if user >= 0:
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
if ctypes.CDLL(None, use_errno=True).prctl(1, 9, 0, 0, 0):
    sys.exit("prctl failed: " + os.strerror(ctypes.get_errno()))
if os.getppid() != parent:
    sys.exit("the parent process has ended")
os.execv(sys.argv[4], sys.argv[4:])
"""


class ChildProcess:
    """A run of a server.

    On Linux the kernel kills it when this process ends, however it ends; on other systems it is
    killed at this interpreter's exit. It is in its own session, so Ctrl-C does not reach it.

    Args:
        command: the program and its arguments.
        log: the file to which its output is appended.
        cwd: the working directory.
        user: the uid and gid to run as, by default those of this process.
        environment: its variables, by default those of this process.
        inherits: descriptors of this process that it has too, under the same numbers.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        user: tuple[int, int] | None = None,
        environment: Mapping[str, str] | None = None,
        inherits: Sequence[int] = (),
    ) -> None:
        self._log = log
        self._log_starts_at = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._popen = _spawner().call(
                lambda: subprocess.Popen(
                    _with_wrapper(command, user),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env=dict(environment) if environment is not None else None,
                    start_new_session=True,
                    pass_fds=inherits,
                )
            )
        if sys.platform != "linux":
            atexit.register(self.kill)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the process lives, paused or not. Reading it reaps a dead process."""
        return self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process lives."""
        return self._popen.poll()

    def output(self) -> str:
        """Return the output of this run."""
        with self._log.open("rb") as log:
            log.seek(self._log_starts_at)
            return log.read().decode(errors="replace")

    def wait_until(self, ready: Callable[[], bool], *, name: str, seconds: float) -> None:
        """Wait until `ready` returns True.

        Raises:
            ServerFailed: the process ended, or was killed after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            if not self.running:
                raise ServerFailed(
                    f"{name} ended during its start with code {self.exit_code}:\n"
                    f"{self.output().strip()}"
                )
            if ready():
                return
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(
                    f"{name} was not ready after {seconds:g} s:\n{self.output().strip()}"
                )
            time.sleep(0.005)

    def stop(self, number: signal.Signals, *, name: str, seconds: float) -> None:
        """Send a signal that ends the process, and wait.

        Raises:
            ServerFailed: it had to be killed after `seconds`.
        """
        self.send(signal.SIGCONT)
        self.send(number)
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(
                f"{name} did not stop within {seconds:g} s and was killed; its log is {self._log}"
            ) from None

    def kill(self) -> None:
        """Send SIGKILL and reap the process; do nothing if it is dead."""
        self.send(signal.SIGKILL)
        self._popen.wait()
        if sys.platform != "linux":
            atexit.unregister(self.kill)

    def pause(self) -> None:
        """Send SIGSTOP and wait until every thread has stopped; do nothing if it is dead.

        On a busy machine, threads continue for a while after the signal.
        """
        self.send(signal.SIGSTOP)
        if not hasattr(os, "waitid"):  # macOS has it since Python 3.13.
            return
        has_stopped = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        while self.running and os.waitid(os.P_PID, self.pid, has_stopped) is None:
            time.sleep(0.001)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; do nothing if the process is dead."""
        self._popen.send_signal(number)


class Descendants:
    """The descendants of a process at the time of construction."""

    def __init__(self, pid: int) -> None:
        import psutil

        self._psutil = psutil
        try:
            self._processes = psutil.Process(pid).children(recursive=True)
        except psutil.NoSuchProcess:
            self._processes = []

    def send(self, number: signal.Signals) -> None:
        """Send each process a signal, except those that have ended."""
        for process in self._processes:
            with suppress(self._psutil.NoSuchProcess):
                process.send_signal(number)

    def wait(self, seconds: float = 10) -> None:
        """Wait until all have ended. Raises ServerFailed if one still lives after `seconds`."""
        deadline = time.monotonic() + seconds
        for process in self._processes:
            # A zombie holds no resources, although its new parent has not reaped it yet.
            while process.is_running() and self._status(process) != self._psutil.STATUS_ZOMBIE:
                if time.monotonic() > deadline:
                    raise ServerFailed(f"process {process.pid} did not end within {seconds:g} s")
                time.sleep(0.002)

    def _status(self, process: Any) -> str:
        """Return a process' status; that of a zombie if it no longer exists."""
        try:
            return str(process.status())
        except self._psutil.NoSuchProcess:
            return str(self._psutil.STATUS_ZOMBIE)


def _with_wrapper(command: Sequence[str], user: tuple[int, int] | None) -> list[str]:
    """Return a command that ends with its parent and runs as `user`; unchanged if not on Linux."""
    if sys.platform != "linux":
        return list(command)
    parent = str(os.getpid())
    if setpriv := _setpriv():
        identity = [] if user is None else [f"--reuid={user[0]}", f"--regid={user[1]}"]
        groups = [] if user is None else ["--clear-groups"]
        wrapper = [setpriv, *identity, *groups, "--pdeathsig=KILL", "/bin/sh", "-c", _CHECK, parent]
    else:
        uid, gid = user if user is not None else (-1, -1)
        wrapper = [sys.executable, "-I", "-S", "-c", _WRAPPER, parent, str(uid), str(gid)]
    return [*wrapper, *command]


@cache
def _setpriv() -> str | None:
    """Return the path of util-linux' setpriv; None if it is missing or lacks the option."""
    program = shutil.which("setpriv")
    if program is None:
        return None
    options = subprocess.run([program, "--help"], capture_output=True, encoding="utf-8").stdout
    return program if "--pdeathsig" in options else None


class _Spawner:
    """A thread that starts all child processes and lives until this process ends.

    For the kernel, the parent is the thread that forked. Otherwise a server that a worker thread
    started would be killed at that thread's end.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._calls: queue.SimpleQueue[
            tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]
        ] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="server-spawner", daemon=True).start()

    def call(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        done: Future[subprocess.Popen[bytes]] = Future()
        self._calls.put((start, done))
        return done.result()

    def _run(self) -> None:
        """Start processes as they are requested, on this thread."""
        while True:
            start, done = self._calls.get()
            try:
                done.set_result(start())
            except BaseException as error:
                done.set_exception(error)


_lock = threading.Lock()
_current: _Spawner | None = None


def _spawner() -> _Spawner:
    """Return the thread that starts child processes, one per process."""
    global _current
    with _lock:
        # A forked child process has a copy of the object, but not its thread.
        if _current is None or _current.owner != os.getpid():
            _current = _Spawner()
        return _current
