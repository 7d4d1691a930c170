"""A real Envoy as a child process."""

import json
import signal
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from localservers.ports import free_port
from localservers.process import ChildProcess, PortInUse, ServerFailed
from localservers.program import find_program
from localservers.server import LocalServer

__all__ = ["EnvoyServer"]

_START_SECONDS = 20.0
_STOP_SECONDS = 5.0


class EnvoyServer(LocalServer):
    """An Envoy process on 127.0.0.1. It never outlives the process that started it.

    Args:
        folder: the folder of its configuration and its log.
        bootstrap: its configuration, a Bootstrap of Envoy's API version 3 without `admin`.
        concurrency: the number of its worker threads.
    """

    def __init__(self, folder: Path, bootstrap: Mapping[str, Any], *, concurrency: int = 1) -> None:
        super().__init__("envoy", folder / "envoy.log")
        self._folder = folder
        self._bootstrap = bootstrap
        self._concurrency = concurrency
        self._admin_port = free_port()

    @property
    def url(self) -> str:
        """The URL of its administration: /stats, /clusters, /config_dump."""
        return f"http://127.0.0.1:{self._admin_port}"

    def start(self) -> None:
        """Start Envoy and return once it listens; do nothing if it runs.

        Raises:
            PortInUse: another process listens on one of its ports.
            ServerFailed: it is not installed, or did not start; the message contains its output.
        """
        if self.running:
            return
        program = find_program("envoy", "run `make envoy` in the folder of your clone")
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder.absolute() / "envoy.json"
        address = {"address": "127.0.0.1", "port_value": self._admin_port}
        admin = {"address": {"socket_address": address}}
        file.write_text(json.dumps({**self._bootstrap, "admin": admin}), encoding="utf-8")
        # Hot restarts share memory between all Envoys of a machine.
        command = [program, "--config-path", str(file), "--disable-hot-restart"]
        command += ["--log-level", "warning", "--concurrency", str(self._concurrency)]
        process = ChildProcess(command, log=self.log, cwd=self._folder)
        try:
            process.wait_until(self._listens, name=self._name, seconds=_START_SECONDS)
        except ServerFailed as failure:
            if "Address already in use" in process.output():
                raise PortInUse(
                    f"a port of envoy is in use, so it cannot start:\n{process.output().strip()}"
                ) from failure
            raise
        self._process = process

    def stop(self) -> None:
        """Send SIGTERM and wait for the end; do nothing if it is down."""
        if self.running:
            self._running_process().stop(signal.SIGTERM, name=self._name, seconds=_STOP_SECONDS)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end; do nothing if it is down."""
        if self._process is not None:
            self._process.kill()

    def _listens(self) -> bool:
        """Return whether all its listeners have started."""
        connection = HTTPConnection("127.0.0.1", self._admin_port, timeout=1)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
