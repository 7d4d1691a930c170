"""Options of a platform, and their validation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from chassis.events.wire.lanes import LANES
from devkit.errors import WrongUsage
from devkit.local_canary import CanaryOptions
from devkit.services import ServiceDefinition, check_names
from devkit.workspace import Workspace

__all__ = ["PlatformOptions", "check_options"]

_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class PlatformOptions:
    """The services to run, and how.

    Args:
        data: the folder of databases, streams, logs and the state file.
        services: the services to run, by default all.
        replicas: the number of a service's replicas, by default 1.
        leave_out: services that run elsewhere, on their default ports; the others call them there.
        ports: ports to use instead of the defaults: `{"orders.http": 8181, "nats": 4333}`.
        free_ports: whether free ports are used for everything that `ports` doesn't name.
        database: an SQLite file per service, or a database per service on a PostgreSQL.
        environment: variables for every service, added to those of this process.
        broker_keys: whether each service connects by its own key with least privilege, and the
            streams are made beforehand as in a release.
        watch: whether a service is restarted when its code changes.
        restart: whether a service that dies is started again, with back-off.
        restart_servers: whether the broker and the database server are started again.
        canary: the services whose working tree runs as a canary next to a stable version.
        on_line: called with a process's name and each line of its log.
        on_event: called with a process's name and what the runner did to it.
        workspace: the workspace, by default that of the current folder.
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
    canary: CanaryOptions | None = None
    on_line: Callable[[str, str], None] | None = None
    on_event: Callable[[str, str], None] | None = None
    workspace: Workspace | None = None

    def chooses(self, service: str) -> bool:
        """Return whether to run a service."""
        wanted = self.services is None or service in self.services
        return wanted and service not in self.leave_out


def check_options(options: PlatformOptions, definitions: Sequence[ServiceDefinition]) -> None:
    """Check the names of services and ports, and the numbers of replicas.

    Raises:
        WrongUsage: one is not valid; the message names it and the valid ones.
    """
    check_names(definitions, (*(options.services or ()), *options.leave_out))
    check_names(definitions, options.replicas)
    _check_replicas(options.replicas)
    _check_ports(options.ports, definitions)
    if options.canary is not None:
        check_names(definitions, options.canary.weights)
        _check_canary(options)


def _check_replicas(replicas: Mapping[str, int]) -> None:
    for name, count in replicas.items():
        if count > LANES:
            raise WrongUsage(
                f"--replicas {name}={count}: replicas share {LANES} lanes,"
                f" so only {LANES} of them can have work"
            )


def _check_ports(ports: Mapping[str, int], definitions: Iterable[ServiceDefinition]) -> None:
    known = ["nats", "postgres"]
    for service in definitions:
        known += [f"{service.name}.http", f"{service.name}.grpc"]
    for name, port in ports.items():
        if name not in known:
            raise WrongUsage(f"there is no port {name}; there are: {', '.join(known)}")
        if port > _HIGHEST_PORT:
            raise WrongUsage(f"--port {name}={port}: the highest port is {_HIGHEST_PORT}")


def _check_canary(options: PlatformOptions) -> None:
    for name in options.canary.weights if options.canary is not None else ():
        if not options.chooses(name):
            raise WrongUsage(f"--canary {name}: {name} is not run here")
