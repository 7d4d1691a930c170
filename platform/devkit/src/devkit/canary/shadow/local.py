"""Shadows on this machine: the working tree as canary, and a checkout of a git ref as stable."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from chassis.exit_codes import NOTHING
from devkit.canary.shadow.lines import Written, read_lines
from devkit.canary.shadow.request import Request
from devkit.canary.shadow.version import Say, Version, run_together
from devkit.errors import DevkitError, WrongUsage
from devkit.local_canary.checkout import Checkout, check_out
from devkit.services import check_names, read_services
from devkit.state import PlatformState, read_state
from devkit.workspace import Workspace

__all__ = ["shadow_locally"]


def shadow_locally(
    workspace: Workspace, request: Request, ref: str, say: Say
) -> tuple[Written, Written]:
    """Record events of the running platform and replay them to both versions.

    Return what the version of the ref and the working tree did.

    Raises:
        WrongUsage: there is no such service, it does not run here, or the ref names no commit.
        DevkitError: nothing runs, or a version cannot replay.
    """
    state = read_state(workspace.state)
    if state is None or not state.alive:
        raise DevkitError("nothing runs; `slipway run` starts the platform whose events are read")
    settings = _settings(workspace, state, request.service)
    checkout = check_out(workspace, ref, workspace.state / "shadow")
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "recording"
        canary = _canary(workspace, request.service, settings, say)
        stable = _stable(checkout, request.service, settings, say)
        if canary.run(request.record(str(recording))) == NOTHING:
            raise DevkitError(f"no stream holds an event that {request.service} handles")
        files = Path(folder) / "stable", Path(folder) / "canary"
        replays = [[*request.replay(str(recording)), "--out", str(file)] for file in files]
        run_together({stable: replays[0], canary: replays[1]})
        return _read(files[0]), _read(files[1])


def _settings(workspace: Workspace, state: PlatformState, service: str) -> Mapping[str, str]:
    """Return the variables of a service that runs here and has a database. Raises WrongUsage."""
    definitions = read_services(workspace)
    check_names(definitions, [service])
    if service not in {each.name for each in definitions if each.has_database}:
        raise WrongUsage(f"{service} has no database, so it keeps no events")
    for running in state.services:
        # The stable version next to a canary has variables that lead to a checkout.
        if running.service == service and running.track != "stable":
            return running.environment
    raise WrongUsage(f"{service} does not run here, so its settings are unknown")


def _canary(workspace: Workspace, service: str, settings: Mapping[str, str], say: Say) -> Version:
    package = next(each.package for each in read_services(workspace) if each.name == service)
    return Version("canary", package, workspace.root, _environment(settings), say)


def _stable(checkout: Checkout, service: str, settings: Mapping[str, str], say: Say) -> Version:
    if service not in checkout.packages:
        raise WrongUsage(f"there is no service {service} in {checkout.version}")
    environment = {**_environment(settings), "PYTHONPATH": checkout.python_path}
    return Version("stable", checkout.packages[service], checkout.workspace.root, environment, say)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a command of a service."""
    return {**os.environ, **settings, "APP_LOG_FORMAT": "json", "APP_LOG_LEVEL": "ERROR"}


def _read(file: Path) -> Written:
    with file.open(encoding="utf-8") as lines:
        return read_lines(lines)
