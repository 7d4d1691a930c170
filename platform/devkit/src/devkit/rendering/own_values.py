"""values.yaml of each service: created if it is missing, then edited by hand.

Skaffold, helm and Argo CD get this file by name, so it must exist.
"""

from collections.abc import Iterator
from pathlib import Path

from devkit.describing.description import PlatformDescription
from devkit.rendering.artifact import Artifact

__all__ = ["missing"]


def missing(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield the first content of each values.yaml that does not exist."""
    for service in platform.services:
        path = Path(service.folder, "deploy/values.yaml")
        if not (platform.root / path).exists():
            yield Artifact(
                path,
                f"# Values of the chart deploy/helm/service for {service.name} in every"
                " environment.\n",
            )
