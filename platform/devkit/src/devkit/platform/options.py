"""What to run, and where; and what is wrong with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from chassis.events.wire.lanes import LANES
from devkit.errors import DevkitError
from devkit.services import ServiceDefinition, check_names
from devkit.workspace import Workspace

__all__ = ["PlatformOptions", "check_options"]

_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class PlatformOptions:
    """What to run, and where.

    Args:
        data: the folder of databases, streams, logs and the state file.
        services: only these; all by default.
        replicas: how many of a service, 1 by default.
        leave_out: services that somebody else runs, on their known ports; the others call them.
        ports: moved ports: `{"orders.http": 8181, "nats": 4333}`.
        free_ports: free ports for everything that `ports` doesn't name.
        database: one SQLite file per service, or one database per service on a PostgreSQL.
        environment: variables for every service, on top of this process's own.
        broker_keys: each service connects by a key of its own, with no more rights than it needs,
            and the streams are made as a release makes them.
        watch: restart a service whose code has changed.
        restart: start again, with back-off, a service that dies.
        restart_servers: the same for the broker and the database server.
        on_line: called with a process's name and each line it writes, in the order of its log.
        on_event: called with a process's name and what the runner did to it.
        workspace: found from the current folder by default.
    """

    data: Path
    services: tuple[str, ...] | None = None
    replicas: Mapping[str, int] = field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    free_ports: bool = False
    database: Literal["sqlite", "postgres"] = "sqlite"
    environment: Mapping[str, str] = field(default_factory=dict)
    broker_keys: bool = False
    watch: bool = False
    restart: bool = True
    restart_servers: bool = False
    on_line: Callable[[str, str], None] | None = None
    on_event: Callable[[str, str], None] | None = None
    workspace: Workspace | None = None

    def chooses(self, service: str) -> bool:
        """Whether a service is to run here."""
        wanted = self.services is None or service in self.services
        return wanted and service not in self.leave_out


def check_options(options: PlatformOptions, definitions: Sequence[ServiceDefinition]) -> None:
    """Check that every service, port and number of replicas that is named can be had.

    Raises:
        DevkitError: one cannot; the message names it and what there is.
    """
    check_names(definitions, (*(options.services or ()), *options.leave_out))
    check_names(definitions, options.replicas)
    _check_replicas(options.replicas)
    _check_ports(options.ports, definitions)


def _check_replicas(replicas: Mapping[str, int]) -> None:
    for name, count in replicas.items():
        if count > LANES:
            raise DevkitError(
                f"--replicas {name}={count}: replicas share {LANES} lanes,"
                f" so more than {LANES} of them have nothing to do"
            )


def _check_ports(ports: Mapping[str, int], definitions: Iterable[ServiceDefinition]) -> None:
    known = ["nats", "postgres"]
    for service in definitions:
        known += [f"{service.name}.http", f"{service.name}.grpc"]
    for name, port in ports.items():
        if name not in known:
            raise DevkitError(f"there is no port {name}; there are: {', '.join(known)}")
        if port > _HIGHEST_PORT:
            raise DevkitError(f"--port {name}={port}: ports end at {_HIGHEST_PORT}")
