"""Errors that end a command and are shown without a traceback."""

import os

__all__ = ["DevkitError", "WrongUsage"]


class DevkitError(Exception):
    """An error that the developer can fix; the message says how."""

    exit_code = 1


class WrongUsage(DevkitError):
    """The command line is wrong."""

    exit_code = os.EX_USAGE
