"""What the runner knows of each service: read from its settings' defaults, kept nowhere else."""

import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devkit.errors import DevkitError
from devkit.workspace import Member, Workspace

if TYPE_CHECKING:
    from chassis import ServiceSettings

__all__ = ["ServiceDefinition", "check_names", "nats_port", "read_services"]


@dataclass(frozen=True)
class ServiceDefinition:
    """A service as its settings.py describes it locally."""

    name: str
    package: str
    source_root: Path
    http_port: int
    grpc_port: int | None
    targets: dict[str, str]
    has_database: bool


def read_services(workspace: Workspace) -> tuple[ServiceDefinition, ...]:
    """Every service of the workspace, in the order of their HTTP ports."""
    found = [
        _read(member, name, value.split(":")[0].split(".")[0])
        for member in workspace.services
        for name, value in member.service_entry_points.items()
    ]
    return tuple(sorted(found, key=lambda service: (service.http_port, service.name)))


def check_names(services: Iterable[ServiceDefinition], names: Iterable[str]) -> None:
    """Raises DevkitError for a name that is no service's."""
    known = [service.name for service in services]
    for name in names:
        if name not in known:
            raise DevkitError(f"there is no service {name}; there are: {', '.join(known)}")


def nats_port() -> int:
    """The broker's port that services expect by default."""
    from chassis import ServiceSettings

    return int(str(_default(ServiceSettings, "nats_url")).rsplit(":", 1)[1])


def _read(member: Member, name: str, package: str) -> ServiceDefinition:
    settings = _settings_type(member, package)
    database = _default(settings, "database_url")
    return ServiceDefinition(
        name=name,
        package=package,
        source_root=member.source_root,
        http_port=_default(settings, "http_port"),
        # A service that serves gRPC has a port of its own for it.
        grpc_port=_default(settings, "grpc_port") if "grpc_port" in _own(settings) else None,
        targets=dict(_default(settings, "targets")),
        has_database=bool(database.get_secret_value()),
    )


def _settings_type(member: Member, package: str) -> "type[ServiceSettings]":
    from chassis import ServiceSettings

    if str(member.source_root) not in sys.path:
        sys.path.append(str(member.source_root))
    module = f"{package}.settings"
    try:
        content = vars(import_module(module))
    except Exception as error:  # whatever a service's author wrote
        raise DevkitError(
            f"{module} can't be imported: {type(error).__name__}: {error}."
            f" A service keeps its settings in {member.relative}/src/{package}/settings.py."
        ) from error
    types = [
        value
        for value in content.values()
        if inspect.isclass(value)
        and issubclass(value, ServiceSettings)
        and value.__module__ == module
    ]
    if len(types) != 1:
        raise DevkitError(
            f"{module} must define exactly one subclass of ServiceSettings, it defines {len(types)}"
        )
    return types[0]


def _default(settings: "type[ServiceSettings]", field: str) -> Any:
    return settings.model_fields[field].get_default(call_default_factory=True, validated_data={})


def _own(settings: type) -> dict[str, Any]:
    return inspect.get_annotations(settings)
