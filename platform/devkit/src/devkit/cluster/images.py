"""Images for a cluster: built, tagged by their content, and pushed to a registry."""

import hashlib
from collections.abc import Iterable, Sequence

from devkit.cluster.tools import run
from devkit.images.build import Order, build_image, pick_members, push_image
from devkit.images.docker import docker
from devkit.workspace import Workspace

__all__ = ["push_as", "push_images"]

_BUILT = "cluster"


def push_images(workspace: Workspace, registry: str, extra: Sequence[str] = ()) -> str:
    """Build and push the image of every service and the `extra` ones; return their tag.

    The tag is a hash of the images, so that nodes do not pull unchanged images again.

    Raises:
        DevkitError: an image cannot be built or pushed.
    """
    members = pick_members(workspace, ()) + (pick_members(workspace, extra) if extra else [])
    built = [build_image(workspace, member, Order(_BUILT)) for member in members]
    tag = _digest(run(docker(), "image", "inspect", "--format", "{{.Id}}", *built).split())
    for image in built:
        push_as(workspace, image, f"{image.partition(':')[0]}:{tag}", registry)
    return tag


def push_as(workspace: Workspace, image: str, name: str, registry: str) -> str:
    """Push an image under another name; return its name in the registry. Raises DevkitError."""
    run(docker(), "tag", image, name)
    return push_image(workspace, name, registry)


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
