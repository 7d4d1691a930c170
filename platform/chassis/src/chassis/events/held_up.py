"""What of a service's events waits for an operator, as it was counted last."""

from collections.abc import Iterable
from dataclasses import dataclass

from chassis.events.stopped_lanes import StoppedLane

__all__ = ["HeldUp"]


@dataclass(slots=True)
class HeldUp:
    """Over all replicas; None while it cannot be counted."""

    dead_letters: int | None = None
    stopped_lanes: list[str] | None = None

    def counted(self, dead_letters: int, stopped: Iterable[StoppedLane]) -> None:
        """It has been counted."""
        self.dead_letters = dead_letters
        self.stopped_lanes = [
            f"{stop.subject}: {stop.reason} -> events {stop.verb} {stop.subject}"
            for stop in stopped
        ]

    def forget(self) -> None:
        """It cannot be counted."""
        self.dead_letters = self.stopped_lanes = None

    def report(self) -> dict[str, object]:
        """As /readyz shows it."""
        return {"dead_letters": self.dead_letters, "stopped_lanes": self.stopped_lanes}
