"""The Docker client of this machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache

from devkit.errors import DevkitError

__all__ = ["build_environment", "docker"]


@cache
def docker() -> str:
    """Return the first `docker` on the PATH that builds with BuildKit.

    A machine may have several clients, and some without the plug-in buildx.

    Raises:
        DevkitError: no client can build.
    """
    clients = list(_clients_on_path())
    for client in clients:
        if _has_buildkit(client):
            return client
    if clients:
        raise DevkitError(
            f"{' and '.join(clients)} cannot build with BuildKit: install the plug-in buildx"
        )
    raise DevkitError("there is no docker on the PATH: install Docker, or a client of its API")


def build_environment() -> Mapping[str, str]:
    """Return the environment variables for a build."""
    return os.environ | {"DOCKER_BUILDKIT": "1"}


def _clients_on_path() -> Iterator[str]:
    found = (
        shutil.which("docker", path=folder)
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)
    )
    return (client for client in dict.fromkeys(found) if client)


def _has_buildkit(client: str) -> bool:
    tried = subprocess.run(
        [client, "build", "--help"], env=build_environment(), capture_output=True, check=False
    )
    return tried.returncode == 0
