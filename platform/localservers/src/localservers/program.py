"""Programs of servers that Python packages install."""

import shutil
import sys
from pathlib import Path

from localservers.process import ServerFailed

__all__ = ["find_program", "installed_program"]


def find_program(name: str, advice: str) -> str:
    """Return the path of a program, that of this Python environment first.

    Raises:
        ServerFailed: it is not installed; the message ends with the `advice`.
    """
    found = installed_program(name)
    if found is None:
        raise ServerFailed(f"{name} is not installed: {advice}")
    return found


def installed_program(name: str) -> str | None:
    """Return the path of a program, that of this Python environment first; None without it."""
    in_environment = Path(sys.executable).parent / name
    return str(in_environment) if in_environment.exists() else shutil.which(name)
