"""Creation of all services' streams, each by its own `python -m <service> broker apply`."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from devkit.errors import DevkitError
from devkit.services import read_services
from devkit.state import read_state
from devkit.workspace import Workspace

__all__ = ["apply_all", "apply_streams"]


def apply_all(workspace: Workspace, options: Sequence[str] = ()) -> int:
    """Run `broker apply` of each service and return the highest exit code.

    The commands get the variables of this process and, with lower precedence, those of the
    platform that runs here.

    Raises:
        DevkitError: there are no services.
    """
    services = sorted(read_services(workspace), key=lambda service: service.name)
    if not services:
        raise DevkitError("there are no services; CONTRIBUTING.md says how to add one")
    running = _environments_of_running_services(workspace)
    codes = []
    for service in services:
        print(f"{service.name}:", flush=True)
        environment = {**running.get(service.name, {}), **os.environ}
        command = [*_apply_command(service.package), *options]
        codes.append(subprocess.run(command, env=environment, cwd=workspace.root).returncode)
    return max(codes)


def apply_streams(services: Iterable[tuple[str, Mapping[str, str]]]) -> None:
    """Run `broker apply` of services, given by package and variables, concurrently.

    Raises:
        DevkitError: a command failed; the message contains its output.
    """
    with ThreadPoolExecutor() as pool:
        list(pool.map(_apply_quietly, services))


def _apply_quietly(service: tuple[str, Mapping[str, str]]) -> None:
    """Run a service's `broker apply`; show its output only if it fails."""
    package, environment = service
    command = _apply_command(package)
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        raise DevkitError(f"{' '.join(command[1:])} failed:\n{done.stderr or done.stdout}")


def _apply_command(package: str) -> list[str]:
    return [sys.executable, "-m", package, "broker", "apply"]


def _environments_of_running_services(workspace: Workspace) -> Mapping[str, Mapping[str, str]]:
    state = read_state(workspace.state)
    if state is None or not state.alive:
        return {}
    return {each.service: each.environment for each in state.services}
