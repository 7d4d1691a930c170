"""The real Skaffold: run to its end, or kept running as on a developer's machine."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devkit.cluster.tools import run
from devkit.workspace import find_workspace

__all__ = ["Living", "clone_into", "living", "skaffold"]

ROOT = find_workspace(Path(__file__)).root
_ENVIRONMENT = {
    "SKAFFOLD_DEFAULT_REPO": os.environ.get("REGISTRY", "localhost:5000"),
    "SKAFFOLD_UPDATE_CHECK": "false",
    # All services are waited for at once.
    "SKAFFOLD_ITERATIVE_STATUS_CHECK": "false",
    # Milliseconds without a further change, after which a save is taken.
    "SKAFFOLD_WATCH_POLL_INTERVAL": "100",
}
_SECONDS = 900


def skaffold(folder: Path, verb: str, *arguments: str) -> str:
    """Run a command of Skaffold on a clone. Raises ToolFailed; returns what it says."""
    variables = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
    command = ("skaffold", verb, f"--filename={folder}/skaffold.yaml")
    return run("env", f"--chdir={folder}", *variables, *command, *arguments, seconds=1200)


def clone_into(folder: Path) -> Path:
    """A copy of the workspace, which a test may edit."""
    copy = folder / "clone"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", ".slipway"))
    (copy / ".venv").symlink_to(ROOT / ".venv")
    return copy


@dataclass(frozen=True)
class Living:
    """A running `skaffold dev` or `debug`."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self, pattern: str) -> re.Match[str]:
        """Wait until Skaffold has printed this."""
        deadline = time.monotonic() + _SECONDS
        while not (found := re.search(pattern, self.log.read_text(encoding="utf-8"))):
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, self.log.read_text(encoding="utf-8")
            time.sleep(0.2)
        return found

    def forwarded(self, what: str, port: int) -> str:
        """Return the local address that leads to a port of a pod or Service: `HOST:PORT`."""
        place = rf"Port forwarding {what}\S* in namespace \S+, remote port {port} -> http://(\S+)"
        return self.said(place)[1]


@contextmanager
def living(folder: Path, verb: str, *options: str) -> Iterator[Living]:
    """Run Skaffold until it watches for changes; at the end, stop it, so that it deletes its
    objects."""
    log = folder / f"{verb}.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            ["skaffold", verb, *options],
            cwd=folder, env=os.environ | _ENVIRONMENT, stdout=output, stderr=output,
        )  # fmt: skip
    run_of_it = Living(process, log)
    try:
        run_of_it.said("Watching for changes|Press Ctrl")
        yield run_of_it
    finally:
        process.terminate()
        process.wait(timeout=120)
