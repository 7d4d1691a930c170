"""What stops a command and is shown as one line, without a traceback."""

__all__ = ["DevkitError"]


class DevkitError(Exception):
    """Something the developer can put right; the text says what to do."""
