"""Shadows on this machine: the working tree as canary, and a checkout of a git ref as stable."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from chassis.exit_codes import NOTHING, USAGE
from devkit.canary.shadow.lines import Written, read_lines
from devkit.canary.shadow.request import Request
from devkit.errors import DevkitError, WrongUsage
from devkit.local_canary.checkout import Checkout, check_out
from devkit.services import check_names, read_services
from devkit.state import PlatformState, read_state
from devkit.workspace import Workspace

__all__ = ["shadow_locally"]

Say = Callable[[str, str], None]
"""Tells the user what a version says: the version and a sentence."""

_NO_SHADOW = "invalid choice: 'shadow'"


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
        versions, files = (stable, canary), (Path(folder) / "stable", Path(folder) / "canary")
        with ThreadPoolExecutor() as pool:
            replays = [
                pool.submit(version.run, [*request.replay(str(recording)), "--out", str(file)])
                for version, file in zip(versions, files, strict=True)
            ]
            try:
                for replay in replays:
                    replay.result()
            except BaseException:
                for version in versions:
                    version.stop()
                raise
        return _read(files[0]), _read(files[1])


def _settings(workspace: Workspace, state: PlatformState, service: str) -> Mapping[str, str]:
    """Return the variables of a service that runs here and has a database. Raises WrongUsage."""
    definitions = read_services(workspace)
    check_names(definitions, [service])
    if service not in {each.name for each in definitions if each.has_database}:
        raise WrongUsage(f"{service} has no database, so it keeps no events")
    for running in state.services:
        if running.service == service:
            return running.environment
    raise WrongUsage(f"{service} does not run here, so its settings are unknown")


@dataclass
class _Version:
    """A version of the service, which runs one command at a time."""

    name: str
    package: str
    folder: Path
    environment: Mapping[str, str]
    say: Say
    _process: subprocess.Popen[str] | None = None

    def run(self, arguments: Sequence[str]) -> int:
        """Run a command and return its exit code. Raises DevkitError if it fails."""
        command = [sys.executable, "-m", self.package, *arguments]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as self._process:
            assert self._process.stderr is not None
            said = self._pass_on(self._process.stderr)
        code = self._process.returncode
        if code == USAGE and any(_NO_SHADOW in line for line in said):
            raise DevkitError(
                f"the {self.name} version has no command `events shadow`: choose a newer one"
            )
        if code not in (0, NOTHING):
            reason = "\n".join(said[-5:]) or f"it ended with code {code}"
            raise DevkitError(f"the {self.name} version cannot replay: {reason}")
        return code

    def stop(self) -> None:
        """End the running command."""
        if self._process is not None:
            self._process.terminate()

    def _pass_on(self, stream: IO[str]) -> list[str]:
        """Say what the command says, without lines of its log; return all lines."""
        lines = []
        for line in stream:
            lines.append(line.rstrip("\n"))
            if not line.startswith("{"):
                self.say(self.name, lines[-1])
        return lines


def _canary(workspace: Workspace, service: str, settings: Mapping[str, str], say: Say) -> _Version:
    package = next(each.package for each in read_services(workspace) if each.name == service)
    return _Version("canary", package, workspace.root, _environment(settings), say)


def _stable(checkout: Checkout, service: str, settings: Mapping[str, str], say: Say) -> _Version:
    if service not in checkout.packages:
        raise WrongUsage(f"there is no service {service} in {checkout.version}")
    environment = {**_environment(settings), "PYTHONPATH": checkout.python_path}
    return _Version("stable", checkout.packages[service], checkout.workspace.root, environment, say)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a command of a service."""
    return {**os.environ, **settings, "APP_LOG_FORMAT": "json", "APP_LOG_LEVEL": "ERROR"}


def _read(file: Path) -> Written:
    with file.open(encoding="utf-8") as lines:
        return read_lines(lines)
