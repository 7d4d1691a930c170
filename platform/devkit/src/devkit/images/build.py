"""Builds the services' images, all of them by docker/Dockerfile."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from devkit.errors import DevkitError
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
    """What is built: the target, the tag, and for which platforms ("linux/amd64,linux/arm64").

    Images for other platforms than the engine's own exist in a registry only, so building them and
    pushing them is one step. `name` is the whole name of the image, where it is not that of the
    member and the tag.
    """

    tag: str
    target: Target = Target.SERVICE
    registry: str = ""
    platforms: str = ""
    name: str = ""


def pick_members(workspace: Workspace, names: Sequence[str]) -> list[Member]:
    """The services of these names, or the demo; all services without any.

    Raises DevkitError for an unknown name.
    """
    services = {
        name: member for member in workspace.services for name in member.service_entry_points
    }
    known = {**services, **{m.relative: m for m in workspace.others if m.relative == _DEMO}}
    for name in names:
        if name not in known:
            raise DevkitError(f"there is no service {name}; there are: {', '.join(known)}")
    return [known[name] for name in names or services]


def build_image(workspace: Workspace, member: Member, order: Order) -> str:
    """Builds the image of one service and returns the name it has been given.

    On a terminal the client shows its own progress; elsewhere the end of its output is shown only
    if it fails. Raises DevkitError then.
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
            "--build-arg", f"REVISION={_revision(workspace)}",
            "--tag", image, *access,
            *(["--platform", order.platforms, "--push"] if order.platforms else []),
            ".",
        ]  # fmt: skip
        _run(workspace, command, f"the image {image} could not be built")
    return image


def push_image(workspace: Workspace, image: str, registry: str) -> str:
    """Pushes an image to a registry and returns its name there. Raises DevkitError if it fails."""
    pushed = f"{registry.rstrip('/')}/{image}"
    failure = f"the image {pushed} could not be pushed"
    _run(workspace, [docker(), "tag", image, pushed], failure)
    push_named(workspace, pushed)
    return pushed


def push_named(workspace: Workspace, image: str) -> None:
    """Pushes an image to the registry that its name begins with. Raises DevkitError if it fails."""
    _run(workspace, [docker(), "push", image], f"the image {image} could not be pushed")


def _run(workspace: Workspace, command: Sequence[str], failure: str) -> None:
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


def _revision(workspace: Workspace) -> str:
    """The commit that is built, marked when the working tree differs; empty outside of git."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
        cwd=workspace.root,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return asked.stdout.strip() if asked.returncode == 0 else ""
