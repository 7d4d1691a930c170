"""What stops a command and is shown as one line, without a traceback."""

import os

__all__ = ["DevkitError", "WrongUsage"]


class DevkitError(Exception):
    """Something the developer can put right; the text says what to do."""

    exit_code = 1


class WrongUsage(DevkitError):
    """The command was typed wrongly."""

    exit_code = os.EX_USAGE
