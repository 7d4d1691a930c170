"""How much time is left for the request being answered, whatever protocol it came by."""

import time
from contextvars import ContextVar

__all__ = ["begin", "remaining"]

_ends_at: ContextVar[float | None] = ContextVar("deadline", default=None)


def begin(seconds: float | None) -> None:
    """What runs from here on, in this task or thread, has so many seconds; None: any number."""
    _ends_at.set(None if seconds is None else time.monotonic() + seconds)


def remaining() -> float | None:
    """Seconds left, zero or less if it has passed; None if there is no deadline."""
    ends_at = _ends_at.get()
    return None if ends_at is None else ends_at - time.monotonic()
