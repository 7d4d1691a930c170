"""Imports the composition root of each service: `service` in its service.py."""

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
    """Each member that declares a service, and what it declares.

    Raises DevkitError for one that can't be imported, or declares none or several.
    """
    # In front, so that the code of this workspace is read even where another one is installed.
    roots = [str(member.source_root) for member in workspace.members]
    sys.path[:0] = [root for root in roots if root not in sys.path]
    for member in workspace.services:
        yield member, _import(member)


def _import(member: Member) -> "Service":
    from chassis import Service

    if len(member.service_entry_points) != 1:
        raise DevkitError(
            f"{member.relative} declares {len(member.service_entry_points)} services; its folder"
            " holds the deployment of one: give each a folder of its own under services/"
        )
    ((name, value),) = member.service_entry_points.items()
    module, _, attribute = value.partition(":")
    try:
        service = getattr(import_module(module), attribute)
    except Exception as error:  # whatever a service's author wrote
        raise DevkitError(
            f"{value} of {member.relative} can't be imported: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(service, Service):
        raise DevkitError(f"{value} of {member.relative} is no chassis.Service")
    if service.name != name:
        raise DevkitError(
            f"{member.relative}/pyproject.toml calls the service {name}, {module} calls it"
            f" {service.name}: give both the same name"
        )
    return service
