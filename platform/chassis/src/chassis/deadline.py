"""The deadline of the running request, for HTTP and gRPC alike."""

import time
from contextvars import ContextVar

__all__ = ["begin", "remaining"]

_ends_at: ContextVar[float | None] = ContextVar("deadline", default=None)


def begin(seconds: float | None) -> None:
    """Set the deadline of this task or thread to `seconds` from now; None removes it."""
    _ends_at.set(None if seconds is None else time.monotonic() + seconds)


def remaining() -> float | None:
    """Return the seconds left, at most 0 after the deadline; None without a deadline."""
    ends_at = _ends_at.get()
    return None if ends_at is None else ends_at - time.monotonic()
