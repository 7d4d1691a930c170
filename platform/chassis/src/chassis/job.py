"""A function that a service runs again and again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Job"]


@dataclass(frozen=True, slots=True)
class Job:
    """A function run every `seconds`, by one replica at a time."""

    name: str
    function: Callable[..., Any]
    seconds: float | Callable[[Any], float]

    def interval(self, settings: object) -> float:
        """Seconds between two runs."""
        return self.seconds(settings) if callable(self.seconds) else self.seconds
