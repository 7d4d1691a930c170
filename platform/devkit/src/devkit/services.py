"""Definitions of the services for local runs, read from the defaults of their settings."""

import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devkit.errors import DevkitError, WrongUsage
from devkit.workspace import Member, Workspace

if TYPE_CHECKING:
    from chassis import ServiceSettings

__all__ = ["ServiceDefinition", "check_names", "default_setting", "nats_port", "read_services"]


@dataclass(frozen=True)
class ServiceDefinition:
    """A service's package, ports, targets and whether it has a database."""

    name: str
    package: str
    source_root: Path
    http_port: int
    grpc_port: int | None
    targets: dict[str, str]
    has_database: bool


def read_services(workspace: Workspace) -> tuple[ServiceDefinition, ...]:
    """Return every service of the workspace, sorted by HTTP port.

    Raises:
        DevkitError: a service's settings can't be imported.
    """
    found = [
        _read_service(member, name, value.split(":")[0].split(".")[0])
        for member in workspace.services
        for name, value in member.service_entry_points.items()
    ]
    return tuple(sorted(found, key=lambda service: (service.http_port, service.name)))


def check_names(services: Iterable[ServiceDefinition], names: Iterable[str]) -> None:
    """Raise WrongUsage if a name is not the name of a service."""
    known = [service.name for service in services]
    for name in names:
        if name not in known:
            raise WrongUsage(f"there is no service {name}; there are: {', '.join(known)}")


def nats_port() -> int:
    """Return the broker's port in the services' default settings."""
    from chassis import ServiceSettings

    return int(str(default_setting(ServiceSettings, "nats_url")).rsplit(":", 1)[1])


def default_setting(settings: "type[ServiceSettings]", field: str) -> Any:
    """Return the default value of a setting."""
    return settings.model_fields[field].get_default(call_default_factory=True, validated_data={})


def _read_service(member: Member, name: str, package: str) -> ServiceDefinition:
    """Return the definition of a service, from its package's settings."""
    settings = _settings_type(member, package)
    database = default_setting(settings, "database_url")
    serves_grpc = "grpc_port" in inspect.get_annotations(settings)
    return ServiceDefinition(
        name=name,
        package=package,
        source_root=member.source_root,
        http_port=default_setting(settings, "http_port"),
        # A service that serves gRPC overrides the default port of the chassis.
        grpc_port=default_setting(settings, "grpc_port") if serves_grpc else None,
        targets=dict(default_setting(settings, "targets")),
        has_database=bool(database.get_secret_value()),
    )


def _settings_type(member: Member, package: str) -> "type[ServiceSettings]":
    """Return the settings class of a service's package; refuse a package without exactly one."""
    from chassis import ServiceSettings

    if str(member.source_root) not in sys.path:
        sys.path.append(str(member.source_root))
    module = f"{package}.settings"
    try:
        content = vars(import_module(module))
    except Exception as error:  # A service's code may raise anything.
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
