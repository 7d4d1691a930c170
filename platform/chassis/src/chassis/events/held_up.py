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
    refused: int | None = None

    def counted(self, dead_letters: int, stopped: Iterable[StoppedLane], refused: int) -> None:
        """It has been counted; `refused` are events of its own that the stream refused."""
        self.dead_letters = dead_letters
        self.refused = refused
        self.stopped_lanes = [
            f"{stop.subject}: {stop.reason} -> events {stop.verb} {stop.subject}"
            for stop in stopped
        ]

    def forget(self) -> None:
        """It cannot be counted."""
        self.dead_letters = self.stopped_lanes = self.refused = None

    def report(self) -> dict[str, object]:
        """As /readyz shows it."""
        return {
            "dead_letters": self.dead_letters,
            "stopped_lanes": self.stopped_lanes,
            "refused_events": self.refused,
        }
