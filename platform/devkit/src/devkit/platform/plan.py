"""The plan of a platform: its processes with their variables, and the order of stopping."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devkit.platform.options import PlatformOptions
from devkit.ports import ReplicaPorts
from devkit.service_process import ServiceProcess
from devkit.services import ServiceDefinition

__all__ = ["Ports", "Surroundings", "Track", "callers_first", "processes_of"]

Ports = Mapping[tuple[str, int], ReplicaPorts]


@dataclass(frozen=True)
class Surroundings:
    """The servers and folders that every service uses.

    `keys` is the folder of the services' broker keys; None if the broker requires no key.
    """

    broker_url: str
    database_urls: Mapping[str, str]
    keys: Path | None
    logs: Path
    folder: Path


@dataclass(frozen=True)
class Track:
    """A version of a service, of which several may run at the same time.

    Args:
        name: `stable` or `canary`; empty for a service of which only one version runs.
        ports: the ports of its replicas.
        package: the package that `python -m` runs.
        folder: the root of the workspace with its code.
        environment: variables in addition to those of the service.
    """

    name: str
    ports: Sequence[ReplicaPorts]
    package: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def processes_of(
    services: Sequence[ServiceDefinition],
    options: PlatformOptions,
    ports: Ports,
    around: Surroundings,
    tracks: Mapping[str, Sequence[Track]],
) -> list[ServiceProcess]:
    """Return every replica of these services, without starting it.

    `ports` are those on which each service is called, and `tracks` the versions of the services of
    which several run.
    """
    return [
        _process(service, track, replica, options, ports, around)
        for service in services
        for track in tracks.get(service.name) or [_only_track(service, ports, around)]
        for replica in range(len(track.ports))
    ]


def _only_track(service: ServiceDefinition, ports: Ports, around: Surroundings) -> Track:
    """Return the track of a service of which one version runs."""
    own_ports = [own for (name, _), own in ports.items() if name == service.name]
    return Track("", own_ports, service.package, around.folder)


def _process(
    service: ServiceDefinition,
    track: Track,
    replica: int,
    options: PlatformOptions,
    ports: Ports,
    around: Surroundings,
) -> ServiceProcess:
    """Return the process of one replica, with its ports, environment and log file."""
    own_ports = track.ports[replica]
    variables = {
        "PYTHONUNBUFFERED": "1",
        "APP_HTTP_PORT": str(own_ports.http),
        "APP_GRPC_PORT": str(own_ports.grpc),
        "APP_NATS_URL": around.broker_url,
        "APP_TARGETS": json.dumps(_targets(service, options, ports)),
    }
    if service.has_database:
        variables["APP_DATABASE_URL"] = around.database_urls[service.name]
    if around.keys is not None:
        variables["APP_NATS_NKEY_SEED_FILE"] = str(around.keys / f"{service.name}.nk")
        variables["APP_STREAMS"] = "verify"
    name = f"{service.name}-{track.name}" if track.name else service.name
    return ServiceProcess(
        service=service.name,
        replica=replica,
        package=track.package,
        http_port=own_ports.http,
        grpc_port=own_ports.grpc if service.grpc_port is not None else None,
        environment=variables | dict(options.environment) | dict(track.environment),
        log=around.logs / f"{name}-{replica}.log",
        folder=track.folder,
        supervised=options.restart,
        track=track.name,
    )


def _targets(service: ServiceDefinition, options: PlatformOptions, ports: Ports) -> dict[str, str]:
    """Return the addresses of each called service: its ports here, or its default elsewhere."""
    targets = dict(service.targets)
    for called in targets:
        run_here = [replica.grpc for (name, _), replica in ports.items() if name == called]
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
    """Return the processes in groups: no process of a later group calls one of an earlier group."""
    calls = {service.name: set(service.targets) for service in definitions}
    remaining = {process.service for process in processes}
    groups = []
    while remaining:
        called = set().union(*(calls[name] for name in remaining))
        # Services that call each other in a circle stop together.
        group = (remaining - called) or remaining
        groups.append([process for process in processes if process.service in group])
        remaining -= group
    return groups
