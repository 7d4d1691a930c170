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
    """The first `docker` on the PATH that builds with BuildKit.

    A machine may have several, for example one that came without the plug-in buildx. Raises
    DevkitError if there is none.
    """
    clients = list(_clients())
    for client in clients:
        if _builds(client):
            return client
    if clients:
        raise DevkitError(
            f"{' and '.join(clients)} cannot build with BuildKit: install its plug-in buildx."
        )
    raise DevkitError("there is no docker on the PATH: install Docker, or a client of its API.")


def build_environment() -> Mapping[str, str]:
    """The environment that a client builds in."""
    return os.environ | {"DOCKER_BUILDKIT": "1"}


def _clients() -> Iterator[str]:
    found = (
        shutil.which("docker", path=folder)
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)
    )
    return (client for client in dict.fromkeys(found) if client)


def _builds(client: str) -> bool:
    tried = subprocess.run(
        [client, "build", "--help"], env=build_environment(), capture_output=True, check=False
    )
    return tried.returncode == 0
