"""Which processes run, with which variables, and in which order they stop. Nothing is started."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devkit.platform.options import PlatformOptions
from devkit.ports import ReplicaPorts
from devkit.service_process import ServiceProcess
from devkit.services import ServiceDefinition

__all__ = ["Surroundings", "callers_first", "processes_of"]

Ports = Mapping[tuple[str, int], ReplicaPorts]


@dataclass(frozen=True)
class Surroundings:
    """What a service finds around it: the broker, its database, its key; and where it runs.

    `keys` is the folder of the services' keys, None where the broker asks for none.
    """

    broker_url: str
    database_urls: Mapping[str, str]
    keys: Path | None
    logs: Path
    folder: Path


def processes_of(
    services: Sequence[ServiceDefinition],
    options: PlatformOptions,
    ports: Ports,
    around: Surroundings,
) -> list[ServiceProcess]:
    """Every replica of these services, not yet started."""
    return [
        _process(service, replica, options, ports, around)
        for service in services
        for replica in range(options.replicas.get(service.name, 1))
    ]


def _process(
    service: ServiceDefinition,
    replica: int,
    options: PlatformOptions,
    ports: Ports,
    around: Surroundings,
) -> ServiceProcess:
    own = ports[service.name, replica]
    variables = {
        "PYTHONUNBUFFERED": "1",
        "APP_HTTP_PORT": str(own.http),
        "APP_GRPC_PORT": str(own.grpc),
        "APP_NATS_URL": around.broker_url,
        "APP_TARGETS": json.dumps(_targets(service, options, ports)),
    }
    if service.has_database:
        variables["APP_DATABASE_URL"] = around.database_urls[service.name]
    if around.keys is not None:
        variables["APP_NATS_NKEY_SEED_FILE"] = str(around.keys / f"{service.name}.nk")
        variables["APP_STREAMS"] = "verify"
    return ServiceProcess(
        service=service.name,
        replica=replica,
        package=service.package,
        http_port=own.http,
        grpc_port=own.grpc if service.grpc_port is not None else None,
        environment=variables | dict(options.environment),
        log=around.logs / f"{service.name}-{replica}.log",
        folder=around.folder,
        supervised=options.restart,
    )


def _targets(service: ServiceDefinition, options: PlatformOptions, ports: Ports) -> dict[str, str]:
    """All replicas of each called service; one that is not run here where it would be."""
    targets = dict(service.targets)
    for called in targets:
        run_here = [own.grpc for (name, _), own in ports.items() if name == called]
        moved = options.ports.get(f"{called}.grpc")
        if run_here:
            addresses = ",".join(f"127.0.0.1:{port}" for port in run_here)
            targets[called] = f"ipv4:{addresses}"
        elif moved is not None:
            targets[called] = f"ipv4:127.0.0.1:{moved}"
    return targets


def callers_first(
    processes: Sequence[ServiceProcess], definitions: Sequence[ServiceDefinition]
) -> list[list[ServiceProcess]]:
    """The processes in groups: no process of a later group calls one of an earlier group."""
    calls = {service.name: set(service.targets) for service in definitions}
    left = {process.service for process in processes}
    groups = []
    while left:
        called = set().union(*(calls[name] for name in left))
        # Services that call each other in a circle stop together.
        group = (left - called) or left
        groups.append([process for process in processes if process.service in group])
        left -= group
    return groups
