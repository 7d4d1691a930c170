"""What stops a command and is shown as one line, without a traceback."""

from chassis.exit_codes import FAILED, USAGE

__all__ = ["DevkitError", "WrongUsage"]


class DevkitError(Exception):
    """Something the developer can put right; the text says what to do."""

    exit_code = FAILED


class WrongUsage(DevkitError):
    """The command was typed wrongly."""

    exit_code = USAGE
