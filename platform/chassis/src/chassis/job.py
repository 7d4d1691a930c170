"""Periodic jobs as a service declares them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Job"]


@dataclass(frozen=True, slots=True)
class Job:
    """A function that runs every `seconds`, in one replica at a time."""

    name: str
    function: Callable[..., Any]
    seconds: float | Callable[[Any], float]

    def interval(self, settings: object) -> float:
        """Return the seconds between two runs."""
        return self.seconds(settings) if callable(self.seconds) else self.seconds
