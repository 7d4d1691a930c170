"""Creation of all services' streams, each by its own `python -m <service> broker apply`."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from devkit.errors import DevkitError
from devkit.services import read_services
from devkit.state import read_state
from devkit.workspace import Workspace

__all__ = ["apply_all"]


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
        command = [sys.executable, "-m", service.package, "broker", "apply", *options]
        codes.append(subprocess.run(command, env=environment, cwd=workspace.root).returncode)
    return max(codes)


def _environments_of_running_services(workspace: Workspace) -> Mapping[str, Mapping[str, str]]:
    state = read_state(workspace.state)
    if state is None or not state.alive:
        return {}
    return {each.service: each.environment for each in state.services}
