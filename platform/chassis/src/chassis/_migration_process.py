"""Migrations at a start in development, in a process of their own.

alembic and what it builds take 8 MiB, which a process that has migrated never gives back.
"""

import asyncio
import gc
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

__all__ = ["MigrationProcess"]

_SECONDS = 1.0


class MigrationProcess:
    """A process that calls `migrate` when it is told to, and then ends.

    It is a fork of this process, and ends with it, but not within a migration.
    """

    def __init__(self, migrate: Callable[[], object]) -> None:
        self._control, inherited = socket.socketpair()
        self._pid: int | None = os.fork()
        if self._pid == 0:
            # Nothing of what the process that was forked does at its end may happen here, too.
            try:
                self._control.close()
                with suppress(Exception):
                    _migrate_when_told(inherited, migrate)
            finally:
                os._exit(0)
        inherited.close()
        self._control.setblocking(False)

    @classmethod
    def start(cls, migrate: Callable[[], object]) -> Self | None:
        """Return a new process; None if this one cannot be forked, as it has other threads.

        Where the number of threads is unknown nothing is forked: on macOS, system libraries may
        crash in forked processes.
        """
        try:
            forks = len(os.listdir("/proc/self/task")) == 1
        except OSError:
            forks = False
        return cls(migrate) if forks else None

    async def run(self) -> None:
        """Let it migrate and wait until it has ended; do nothing if it already has.

        An error is not reported: the schema shows whether the migration succeeded.
        """
        if self._pid is None:
            return
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            await loop.sock_sendall(self._control, b"!")
            await loop.sock_recv(self._control, 1)
        self.close()

    def close(self) -> None:
        """End it, unless it has ended. Within a migration it is left to itself after a second."""
        if self._pid is None:
            return
        self._control.close()
        ends_at = time.monotonic() + _SECONDS
        while os.waitpid(self._pid, os.WNOHANG)[0] == 0 and time.monotonic() < ends_at:
            time.sleep(0.001)
        self._pid = None


def _migrate_when_told(control: socket.socket, migrate: Callable[[], object]) -> None:
    """Migrate unless the other end of the connection is closed first."""
    # A collection would copy the memory that this process shares, and free little before its end.
    gc.disable()
    if control.recv(1):
        migrate()
