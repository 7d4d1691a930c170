"""A server of a contender, in a process of its own that lasts as long as its comparison."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bench
from bench.variables import PORT
from devkit.errors import DevkitError

__all__ = ["ServerProcess", "serving"]

_START_SECONDS = 180.0
_STOP_SECONDS = 20.0
_SOURCES = str(Path(bench.__file__).parents[1])


@dataclass(frozen=True)
class ServerProcess:
    """A server that listens on a port of this machine."""

    pid: int
    port: int

    @property
    def address(self) -> str:
        """The host and the port."""
        return f"127.0.0.1:{self.port}"


@contextmanager
def serving(
    module: str,
    port: int,
    folder: Path,
    variables: Mapping[str, str],
    *,
    python: Path = Path(sys.executable),
) -> Iterator[ServerProcess]:
    """Run a module until the block ends; yield it when its port accepts.

    `python` is the interpreter, which need not be that of the platform's environment.

    The module gets the port and `variables` in its environment. Its output goes to a file, as logs
    do.

    Raises:
        DevkitError: it ended, or does not listen; the message has the end of its output.
    """
    log = folder / f"{module}-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [python, "-m", module],
            env={**os.environ, **variables, PORT: str(port), "PYTHONPATH": _SOURCES},
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_it_listens(process, module, port, log)
        yield ServerProcess(process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_listens(
    process: subprocess.Popen[bytes], module: str, port: int, log: Path
) -> None:
    ends_at = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < ends_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    output = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise DevkitError(f"{module} does not listen on port {port}:\n{output}")
