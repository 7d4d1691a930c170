"""nats-permissions.json of each service: its permissions at the broker."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from devkit.broker.permissions import permissions_of
from devkit.describing.description import PlatformDescription
from devkit.rendering.artifact import Artifact, json_text

__all__ = ["artifacts"]


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield the file of each service."""
    for service in platform.services:
        path = Path(service.folder, "deploy/nats-permissions.json")
        additions = "the broker's configuration, which includes permissions.conf"
        content = {"service": service.name, **asdict(permissions_of(service))}
        yield Artifact(path, json_text(additions, content))
