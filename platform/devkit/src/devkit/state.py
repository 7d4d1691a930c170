"""The state of a running platform, in a file of its data folder that other terminals read."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from devkit.local_canary import CanaryFiles

__all__ = [
    "PlatformState",
    "ServerState",
    "ServiceState",
    "read_state",
    "remove_state",
    "write_state",
]

_NAME = "state.json"


@dataclass(frozen=True)
class ServiceState:
    """A replica, with the variables that its process was given."""

    name: str
    service: str
    replica: int
    pid: int
    http_port: int
    grpc_port: int | None
    restarts: int
    log: str
    environment: dict[str, str] = field(default_factory=dict)
    track: str = ""


@dataclass(frozen=True)
class ServerState:
    """The broker, the database server or Envoy."""

    name: str
    url: str
    pid: int
    log: str


@dataclass(frozen=True)
class PlatformState:
    """The runner and its processes. `runner_started` tells a reused process id from the runner."""

    runner_pid: int
    runner_started: float
    started_at: str
    servers: list[ServerState] = field(default_factory=list)
    services: list[ServiceState] = field(default_factory=list)
    canaries: list[CanaryFiles] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Whether the runner that wrote the file still lives."""
        import psutil

        try:
            return abs(psutil.Process(self.runner_pid).create_time() - self.runner_started) < 1
        except psutil.NoSuchProcess:
            return False


def write_state(folder: Path, state: PlatformState) -> None:
    """Replace the file atomically."""
    draft = folder / f".{_NAME}.{os.getpid()}"
    draft.touch(mode=0o600)  # Variables may contain passwords.
    draft.write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
    draft.replace(folder / _NAME)


def read_state(folder: Path) -> PlatformState | None:
    """Return the state in a data folder; None if there is no valid file."""
    try:
        content: dict[str, Any] = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        return PlatformState(
            runner_pid=content["runner_pid"],
            runner_started=content["runner_started"],
            started_at=content["started_at"],
            servers=[ServerState(**server) for server in content["servers"]],
            services=[ServiceState(**service) for service in content["services"]],
            canaries=[CanaryFiles(**canary) for canary in content["canaries"]],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_state(folder: Path) -> None:
    """Delete the file: the platform has ended."""
    (folder / _NAME).unlink(missing_ok=True)
