"""The dead letters that a canary made, and the command that gives them to the stable version."""

import json
from typing import Any

from devkit.canary.pods import APP
from devkit.canary.target import Target
from devkit.cluster.tools import ToolFailed

__all__ = ["dead_letters_of", "redrive_command"]

_SHOWN = 20


def dead_letters_of(target: Target, version: str, seconds: float) -> list[dict[str, Any]]:
    """Return the first dead letters of a version in the last `seconds`, oldest first.

    Raises:
        ToolFailed: the stable version cannot tell, for example because it is older than the option.
    """
    from chassis.exit_codes import NOTHING

    age = ("--newer-than", f"{max(1, round(seconds))}s", "--limit", str(_SHOWN), "--json")
    try:
        printed = target.namespace.kubectl(*_command(target, "list", version), *age)
    except ToolFailed as error:
        if str(error).endswith(f"exit code {NOTHING}"):
            return []
        raise
    return list(json.loads(printed))


def redrive_command(target: Target, version: str) -> str:
    """Return the command line that puts the dead letters of a version back as tasks."""
    command = _command(target, "redrive", version)
    return " ".join(("kubectl", "--namespace", target.namespace.name, *command, "--yes"))


def _command(target: Target, verb: str, version: str) -> tuple[str, ...]:
    where = ("exec", f"deployment/{target.service}", f"--container={APP}", "--")
    return (*where, "python", "/app", "dead-letters", verb, "--version", version)
