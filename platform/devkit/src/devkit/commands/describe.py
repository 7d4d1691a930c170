"""`slipway describe`: the declarations of the services' composition roots, as JSON."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from devkit.describing.reading import describe_platform
from devkit.errors import WrongUsage
from devkit.workspace import find_workspace

__all__ = ["describe"]


def describe(
    service: Annotated[str | None, typer.Argument(help="A service. Default: all.")] = None,
) -> None:
    """Print what the services declare, as JSON: ports, gRPC, events, settings, probes."""
    platform = describe_platform(find_workspace())
    described = asdict(platform)
    del described["root"]  # The location of the clone is not declared by a service.
    if service is not None:
        found = platform.service(service)
        if found is None:
            names = ", ".join(each.name for each in platform.services)
            raise WrongUsage(f"there is no service {service}; there are: {names}")
        described = asdict(found)
    typer.echo(json.dumps(described, indent=2, ensure_ascii=False))
