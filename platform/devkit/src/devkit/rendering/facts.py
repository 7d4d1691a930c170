"""facts.yaml of each service: its declarations that the chart needs."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from devkit.describing.description import PlatformDescription, ServiceDescription
from devkit.rendering.artifact import Artifact, yaml_text

__all__ = ["artifacts"]


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield the file of each service."""
    for service in platform.services:
        path = Path(service.folder, "deploy/facts.yaml")
        yield Artifact(
            path, yaml_text("values.yaml next to it", {"facts": facts(service, platform.lanes)})
        )


def facts(service: ServiceDescription, lanes: int) -> dict[str, object]:
    """Return the values by key, without those that do not apply to the service.

    `lanes` applies if the service's replicas share lanes.
    """
    return {
        "name": service.name,
        "image": service.distribution,
        "http": {"port": service.http.port, "paths": list(service.http.paths)},
        **_grpc(service),
        "calls": _calls(service),
        "callers": _grouped((each.service, each.full_name) for each in service.callers),
        "publishes": list(service.publishes),
        "subscribes": _grouped(
            (each.producer, each.type) for each in service.subscribes if each.producer
        ),
        **_foreign(service),
        "database": service.database,
        "migrations": service.migrations,
        **({"lanes": lanes} if _shares_lanes(service) else {}),
        "secrets": [each.variable for each in service.settings if each.secret and each.required],
    }


def _shares_lanes(service: ServiceDescription) -> bool:
    """Return whether replicas share a subscription; each replica gets all broadcast events."""
    return any(each.kind != "broadcast" for each in service.subscribes)


def _grpc(service: ServiceDescription) -> dict[str, object]:
    if service.grpc is None:
        return {}
    contracts = service.grpc.services
    methods = (method for contract in contracts for method in contract.methods)
    return {
        "grpc": {
            "port": service.grpc.port,
            "services": [each.full_name for each in contracts],
            "reads": [each.path.removeprefix("/") for each in methods if each.reads_only],
        }
    }


def _calls(service: ServiceDescription) -> dict[str, object]:
    contracts = _grouped((call.service, call.full_name) for call in service.calls)
    ports = {call.service: call.port for call in service.calls}
    return {name: {"port": ports[name], "services": contracts[name]} for name in sorted(ports)}


def _foreign(service: ServiceDescription) -> dict[str, object]:
    found = _grouped(
        (each.foreign.stream, each.foreign.subject) for each in service.subscribes if each.foreign
    )
    return {"foreign": found} if found else {}


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the second items of pairs by the first; both are sorted and unique."""
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for key, value in pairs:
        groups[key].add(value)
    return {key: sorted(groups[key]) for key in sorted(groups)}
