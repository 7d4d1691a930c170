"""`slipway compose-demo`: builds the images, replays baskets on containers, checks the laws."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import gettempdir
from typing import Annotated, NoReturn

import typer

from demo.catalog import from_sample
from demo.measurements import Memory
from demo.plan import Outcome, Plan
from demo.remote_platform import RemotePlatform, find_platform
from demo.run_remote import run_remote
from demo.summary import as_json
from devkit.compose.ports import free_ports
from devkit.compose.project import Project
from devkit.compose.secrets import make_secrets
from devkit.console import console
from devkit.describing.description import PlatformDescription
from devkit.describing.reading import describe_platform
from devkit.errors import DevkitError
from devkit.images.build import Order, build_image, pick_members
from devkit.workspace import Workspace, find_workspace

__all__ = ["addresses_of", "app"]

_INTERRUPTED = 130

app = typer.Typer()


@app.command()
def compose_demo(
    baskets: Annotated[int, typer.Option(min=1, help="Number of baskets")] = 1000,
    in_flight: Annotated[int, typer.Option(min=1, help="Orders placed concurrently")] = 32,
    tag: Annotated[str, typer.Option(help="Tag of the images to build and run")] = "dev",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write figures and laws to this file")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the containers and volumes")] = False,
) -> None:
    """Build the images, start docker/compose.yaml, replay baskets, check the laws, remove all.

    The containers have free ports and unique names, so that several demos can run concurrently.
    """
    began = time.monotonic()
    workspace = find_workspace()
    platform = describe_platform(workspace)
    plan = Plan(from_sample(baskets), in_flight, console())
    make_secrets(platform, workspace.root / "docker/.secrets")
    project = Project(
        workspace.root,
        f"slipway-demo-{token_hex(3)}",
        free_ports(platform.services) | {"SLIPWAY_TAG": tag},
    )
    outcome = None
    try:
        with _signals_interrupt():
            _build_images(workspace, tag, plan)
            with _remove_at_the_end(project, plan, keep=keep):
                outcome = _start_and_replay(project, platform, plan)
    except KeyboardInterrupt:
        outcome = None
    if outcome is None:
        raise typer.Exit(_INTERRUPTED)
    plan.output.print(f"\nfrom images to laws in {time.monotonic() - began:.0f} s")
    if json_file is not None:
        options = {"baskets": baskets, "in_flight": in_flight}
        json_file.write_text(json.dumps(as_json(*outcome, options), indent=2) + "\n", "utf-8")
    if not all(law.holds for law in outcome[1]):
        raise typer.Exit(1)


def _build_images(workspace: Workspace, tag: str, plan: Plan) -> None:
    for member in pick_members(workspace, ()):
        began = time.monotonic()
        image = build_image(workspace, member, Order(tag))
        plan.output.print(f"{image:<28} {time.monotonic() - began:5.1f} s", markup=False)


def _start_and_replay(
    project: Project, platform: PlatformDescription, plan: Plan
) -> Outcome | None:
    """Start the containers and replay the plan on them."""
    began = time.monotonic()
    plan.output.print(f"starting the containers of {project.name}", markup=False)
    project.up()
    plan.output.print(f"all are ready after {time.monotonic() - began:.1f} s")

    def memory() -> dict[str, Memory]:
        return {name: Memory(None, used) for name, used in project.memory().items()}

    outcome = run_remote(plan, addresses_of(project, platform), memory)
    if outcome is not None and not all(law.holds for law in outcome[1]):
        _keep_logs(project, plan)
    return outcome


def addresses_of(project: Project, platform: PlatformDescription) -> RemotePlatform:
    """Return the addresses on this machine of a running project's services."""
    published = project.addresses()
    at = []
    for service in platform.services:
        at.append(f"{service.name}=http://{published[f'{service.name} {service.http.port}']}")
        if service.grpc is not None:
            at.append(f"{service.name}={published[f'{service.name} {service.grpc.port}']}")
    return find_platform(at)


@contextmanager
def _remove_at_the_end(project: Project, plan: Plan, *, keep: bool) -> Iterator[None]:
    """Remove everything at the end, also after an error; signals are ignored meanwhile."""
    try:
        yield
    except DevkitError:
        _keep_logs(project, plan)
        raise
    finally:
        if keep:
            plan.output.print(
                f"kept: docker compose --project-name {project.name} ps", markup=False
            )
        else:
            plan.output.print("removing the containers and volumes")
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            project.down(volumes=True)


def _keep_logs(project: Project, plan: Plan) -> None:
    file = Path(gettempdir(), f"{project.name}.log")
    file.write_text(project.logs(), encoding="utf-8")
    plan.output.print(f"the containers' logs are kept in {file}", markup=False)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Turn signals that end a command into KeyboardInterrupt, so that everything is removed."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    previous = [signal.signal(number, interrupt) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, previous, strict=True):
            signal.signal(number, handler)
