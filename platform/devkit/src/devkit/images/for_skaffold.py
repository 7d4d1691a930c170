"""Builds of images for Skaffold, which chooses their names."""

import subprocess
from dataclasses import replace

from devkit.images.build import Order, build_image, pick_members, push_named
from devkit.images.docker import docker
from devkit.workspace import Workspace

__all__ = ["build_for_skaffold"]


def build_for_skaffold(workspace: Workspace, name: str, order: Order, *, push: bool) -> None:
    """Build the image of a service, or of the demo; with `push`, push it.

    `order.name` is the image's full name, `order.platforms` the platforms of the cluster's nodes.

    Raises:
        DevkitError: there is no service of that name, or a step failed.
    """
    (member,) = pick_members(workspace, [name])
    if order.platforms == _engine_platform():
        order = replace(order, platforms="")
    image = build_image(workspace, member, order)
    if push and not order.platforms:
        push_named(workspace, image)


def _engine_platform() -> str:
    command = [docker(), "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return done.stdout.strip()
