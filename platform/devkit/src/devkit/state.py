"""What a running platform tells other terminals: a file in its data folder."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
    """One replica. `environment` are the variables it was given: its settings."""

    name: str
    service: str
    replica: int
    pid: int
    http_port: int
    grpc_port: int | None
    restarts: int
    log: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ServerState:
    """The broker or the database server."""

    name: str
    url: str
    pid: int
    log: str


@dataclass(frozen=True)
class PlatformState:
    """Who runs it (a process id may be somebody else's later: its start time tells), and what."""

    runner_pid: int
    runner_started: float
    started_at: str
    servers: list[ServerState] = field(default_factory=list)
    services: list[ServiceState] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Whether the runner that wrote it still lives."""
        import psutil

        try:
            return abs(psutil.Process(self.runner_pid).create_time() - self.runner_started) < 1
        except psutil.NoSuchProcess:
            return False


def write_state(folder: Path, state: PlatformState) -> None:
    """Replaces the file in one step."""
    draft = folder / f".{_NAME}.{os.getpid()}"
    draft.touch(mode=0o600)  # settings may hold passwords
    draft.write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
    draft.replace(folder / _NAME)


def read_state(folder: Path) -> PlatformState | None:
    """The state in a data folder; None if there is none or it can't be read."""
    try:
        content: dict[str, Any] = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        return PlatformState(
            runner_pid=content["runner_pid"],
            runner_started=content["runner_started"],
            started_at=content["started_at"],
            servers=[ServerState(**server) for server in content["servers"]],
            services=[ServiceState(**service) for service in content["services"]],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_state(folder: Path) -> None:
    """The platform has ended."""
    (folder / _NAME).unlink(missing_ok=True)
