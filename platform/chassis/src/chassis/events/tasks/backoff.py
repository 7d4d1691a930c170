"""Wait of a failed task before its next try."""

import random

from chassis.event_settings import EventSettings

__all__ = ["backoff"]


def backoff(tries: int, settings: EventSettings) -> float:
    """Return the seconds to wait after `tries` tries: exponential, with full jitter above one
    half."""
    doubled = settings.task_backoff_seconds * 2.0 ** min(tries - 1, 30)
    longest = min(settings.task_backoff_max_seconds, doubled)
    return longest * random.uniform(0.5, 1)
