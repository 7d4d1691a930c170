"""Makes the streams of all services by their own commands, `python -m <service> broker apply`."""

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
    """Apply for each service, with its output; the worst of the exit codes.

    With this process's variables, which win, and those of the platform that runs here, if one does.

    Raises:
        DevkitError: there are no services.
    """
    services = sorted(read_services(workspace), key=lambda service: service.name)
    if not services:
        raise DevkitError("there are no services; CONTRIBUTING.md says how to add one")
    running = _running(workspace)
    codes = []
    for service in services:
        print(f"{service.name}:", flush=True)
        environment = {**running.get(service.name, {}), **os.environ}
        command = [*_command(service.package), *options]
        codes.append(subprocess.run(command, env=environment, cwd=workspace.root).returncode)
    return max(codes)


def apply_streams(services: Iterable[tuple[str, Mapping[str, str]]]) -> None:
    """Apply for services, given by their packages and variables, all at once.

    Raises:
        DevkitError: one failed; the text is what it said.
    """
    with ThreadPoolExecutor() as pool:
        list(pool.map(_apply_quietly, services))


def _apply_quietly(service: tuple[str, Mapping[str, str]]) -> None:
    package, environment = service
    command = _command(package)
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        raise DevkitError(f"{' '.join(command[1:])} failed:\n{done.stderr or done.stdout}")


def _command(package: str) -> list[str]:
    return [sys.executable, "-m", package, "broker", "apply"]


def _running(workspace: Workspace) -> Mapping[str, Mapping[str, str]]:
    state = read_state(workspace.state)
    if state is None or not state.alive:
        return {}
    return {each.service: each.environment for each in state.services}
