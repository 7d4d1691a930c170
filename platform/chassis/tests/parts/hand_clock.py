"""A clock that a test sets by hand."""

__all__ = ["HandClock"]


class HandClock:
    """The seconds of a monotonic clock. They change only when a test sets `now`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
