"""The fork server of the runner: when it is used, and when another one takes its place."""

import os
import sys
import threading
from collections.abc import Mapping, Sequence

from devkit.fork_server.connection import ForkedProcess, ForkServer
from devkit.fork_server.messages import Program
from devkit.replica import Replica

__all__ = ["LIBRARIES", "ForkServers", "prepare", "start_forked"]

LIBRARIES = (
    "chassis._commands",
    "chassis._lifecycle",
    "chassis._process",
    "chassis.checks",
    "chassis.command_output",
    "chassis.database.dialects.sqlite",
    "chassis.database.migrations.versions",
    "chassis.database.upgrade",
    "chassis.paging",
    "chassis.service",
    "chassis.shadow_state",
    "encodings.idna",
    "importlib.readers",
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
