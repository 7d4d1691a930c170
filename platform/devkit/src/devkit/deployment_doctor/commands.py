"""Execution of the command-line tools that the checks use."""

import json
import subprocess
from typing import Any

__all__ = ["CommandFailed", "kubectl", "output"]

_SECONDS = 15


class CommandFailed(Exception):
    """A tool is missing, failed or took too long; the message is the last line of its output."""


def output(*command: str) -> str:
    """Return a command's standard output, stripped.

    Raises:
        CommandFailed: it is missing, exits with a code other than 0, or takes over 15 seconds.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except FileNotFoundError:
        raise CommandFailed(f"{command[0]} is not on the PATH") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"no answer within {_SECONDS} seconds") from None
    except OSError as error:
        raise CommandFailed(f"{command[0]} doesn't run: {error}") from None
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CommandFailed(lines[-1] if lines else f"exit code {done.returncode}")
    return done.stdout.strip()


def kubectl(*arguments: str) -> Any:
    """Return kubectl's answer, parsed from JSON.

    Raises:
        CommandFailed: as `output`.
    """
    return json.loads(output("kubectl", *arguments, "-o", "json", "--request-timeout=10s"))
