"""Times as the server writes them."""

from datetime import datetime

__all__ = ["epoch_seconds"]


def epoch_seconds(time: str) -> float:
    """Return the epoch seconds of an RFC 3339 time; 0 for an empty text."""
    return datetime.fromisoformat(time).timestamp() if time else 0.0
