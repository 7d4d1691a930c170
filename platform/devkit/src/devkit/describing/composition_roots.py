"""Import of the services' composition roots: the object `service` in each service.py."""

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from devkit.errors import DevkitError
from devkit.workspace import Member, Workspace

if TYPE_CHECKING:
    from chassis import Service

__all__ = ["composition_roots"]


def composition_roots(workspace: Workspace) -> "Iterator[tuple[Member, Service]]":
    """Yield each member that declares a service, with its composition root.

    Raises:
        DevkitError: a service can't be imported, or a member declares several services.
    """
    # First on the path, so that this workspace is read even if another one is installed.
    roots = [str(member.source_root) for member in workspace.members]
    sys.path[:0] = [root for root in roots if root not in sys.path]
    for member in workspace.services:
        yield member, _import_service(member)


def _import_service(member: Member) -> "Service":
    """Import the service that a member declares; refuse a declaration that is not correct."""
    from chassis import Service

    if len(member.service_entry_points) != 1:
        raise DevkitError(
            f"{member.relative} declares {len(member.service_entry_points)} services, but its"
            " folder holds the deployment of one: give each its own folder under services/"
        )
    ((name, value),) = member.service_entry_points.items()
    module, _, attribute = value.partition(":")
    try:
        service = getattr(import_module(module), attribute)
    except Exception as error:  # A service's code may raise anything.
        raise DevkitError(
            f"{value} of {member.relative} can't be imported: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(service, Service):
        raise DevkitError(f"{value} of {member.relative} is not a chassis.Service")
    if service.name != name:
        raise DevkitError(
            f"{member.relative}/pyproject.toml calls the service {name}, {module} calls it"
            f" {service.name}: give both the same name"
        )
    return service
