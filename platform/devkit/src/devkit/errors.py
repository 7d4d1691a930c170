"""Errors that end a command and are shown without a traceback.

The exit code says who has to act: 64 (EX_USAGE) if the command line has to be written differently,
because an option, a value or a name in it is wrong; 1 if something failed, or is not there or not
in the state that the command needs. Typer's own errors are of the first kind.
"""

import os

__all__ = ["DevkitError", "WrongUsage"]


class DevkitError(Exception):
    """An error that the developer can fix; the message says how."""

    exit_code = 1


class WrongUsage(DevkitError):
    """The command line has to be written differently."""

    exit_code = os.EX_USAGE
