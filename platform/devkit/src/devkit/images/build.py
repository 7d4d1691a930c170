"""Builds of the services' images from docker/Dockerfile."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from devkit.errors import DevkitError, WrongUsage
from devkit.images.docker import build_environment, docker
from devkit.images.package_access import package_access
from devkit.workspace import Member, Workspace

__all__ = ["Order", "Target", "build_image", "pick_members", "push_image", "push_named"]

_TAIL_LINES = 40
_DEMO = "demo"


class Target(StrEnum):
    """The stages of docker/Dockerfile that make an image."""

    SERVICE = "service"
    DEV = "dev"
    DEBUG = "debug"


@dataclass(frozen=True)
class Order:
    """An order to build an image.

    Args:
        tag: the image's tag, and its version.
        target: the stage of the Dockerfile.
        registry: the registry to which images for `platforms` are pushed.
        platforms: platforms other than the engine's, for example "linux/amd64,linux/arm64". Their
            images exist in a registry only, so one step builds and pushes them.
        name: the image's full name; by default it consists of the member's name and the tag.
    """

    tag: str
    target: Target = Target.SERVICE
    registry: str = ""
    platforms: str = ""
    name: str = ""


def pick_members(workspace: Workspace, names: Sequence[str]) -> list[Member]:
    """Return the members of these services, or the demo; without names, all services.

    Raises:
        WrongUsage: there is no service of a name.
    """
    services = {
        name: member for member in workspace.services for name in member.service_entry_points
    }
    known = {**services, **{m.relative: m for m in workspace.others if m.relative == _DEMO}}
    for name in names:
        if name not in known:
            raise WrongUsage(f"there is no service {name}; there are: {', '.join(known)}")
    return [known[name] for name in names or services]


def build_image(workspace: Workspace, member: Member, order: Order) -> str:
    """Build the image of one service and return its name.

    The Docker client shows its progress on a terminal.

    Raises:
        DevkitError: the build failed; without a terminal, the message has the end of its output.
    """
    target = _DEMO if member.relative == _DEMO else order.target.value
    image = f"{member.name}:{order.tag}"
    if order.platforms:
        image = f"{order.registry}/{image}"
    image = order.name or image
    with package_access() as access:
        command = [
            docker(), "build", "--file", "docker/Dockerfile", "--target", target,
            "--build-arg", f"SERVICE={member.path.name}",
            "--build-arg", f"IMAGE={member.name}",
            "--build-arg", f"VERSION={order.tag}",
            "--build-arg", f"REVISION={_git_revision(workspace)}",
            "--tag", image, *access,
            *(["--platform", order.platforms, "--push"] if order.platforms else []),
            ".",
        ]  # fmt: skip
        _run_docker(workspace, command, f"the image {image} could not be built")
    return image


def push_image(workspace: Workspace, image: str, registry: str) -> str:
    """Push an image to a registry and return its name there. Raises DevkitError if it fails."""
    pushed = f"{registry.rstrip('/')}/{image}"
    failure = f"the image {pushed} could not be pushed"
    _run_docker(workspace, [docker(), "tag", image, pushed], failure)
    push_named(workspace, pushed)
    return pushed


def push_named(workspace: Workspace, image: str) -> None:
    """Push an image to the registry in its name. Raises DevkitError if it fails."""
    _run_docker(workspace, [docker(), "push", image], f"the image {image} could not be pushed")


def _run_docker(workspace: Workspace, command: Sequence[str], failure: str) -> None:
    """Run docker; show its output only on a terminal or if it fails."""
    shown = sys.stderr.isatty()
    done = subprocess.run(
        command,
        cwd=workspace.root,
        env=build_environment(),
        stdout=None if shown else subprocess.PIPE,
        stderr=None if shown else subprocess.STDOUT,
        encoding="utf-8", errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        tail = [] if shown else done.stdout.splitlines()[-_TAIL_LINES:]
        raise DevkitError("\n".join([f"{failure}:", *tail]))


def _git_revision(workspace: Workspace) -> str:
    """Return the commit, with `-dirty` if the working tree differs; empty outside of git."""
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
        cwd=workspace.root,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return described.stdout.strip() if described.returncode == 0 else ""
