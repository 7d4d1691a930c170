"""A line on standard error that says what a command waits for."""

import sys

from chassis.credentials import without_credentials

__all__ = ["WaitNotice"]


class WaitNotice:
    """Prints the reason why a command waits, once until the reason changes."""

    def __init__(self) -> None:
        self._printed = ""

    def print(self, reason: str) -> None:
        """Print the reason unless it was the last one printed; credentials in it are masked."""
        if reason != self._printed:
            print(without_credentials(f"waiting: {reason}"), file=sys.stderr, flush=True)
        self._printed = reason
