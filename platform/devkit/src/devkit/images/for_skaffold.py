"""Builds an image under the name that Skaffold gives it."""

import subprocess
from dataclasses import replace

from devkit.images.build import Order, build_image, pick_members, push_named
from devkit.images.docker import docker
from devkit.workspace import Workspace

__all__ = ["build_for_skaffold"]


def build_for_skaffold(workspace: Workspace, name: str, order: Order, *, push: bool) -> None:
    """Build the image of a service, or of the demo, and push it if told to.

    `order.name` is the image's whole name, `order.platforms` the platforms of the cluster's nodes.
    Raises DevkitError for an unknown name, and if a step fails.
    """
    (member,) = pick_members(workspace, [name])
    if order.platforms == _own_platform():
        order = replace(order, platforms="")
    image = build_image(workspace, member, order)
    if push and not order.platforms:
        push_named(workspace, image)


def _own_platform() -> str:
    asked = [docker(), "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"]
    done = subprocess.run(asked, capture_output=True, encoding="utf-8", check=False)
    return done.stdout.strip()
