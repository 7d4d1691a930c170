"""What of a service's events waits for an operator, as it was counted last."""

from collections.abc import Iterable
from dataclasses import dataclass

from chassis.events.consumer.stopped_lane_rows import StoppedLane
from chassis.events.handlers.pauses import Pauses

__all__ = ["HeldUp"]


@dataclass(slots=True)
class HeldUp:
    """Over all replicas; None while it cannot be counted."""

    dead_letters: int | None = None
    stopped_lanes: list[str] | None = None
    refused: int | None = None
    pauses: Pauses | None = None
    """None in a service that handles nothing."""

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

    @property
    def paused_types(self) -> list[str] | None:
        """As this replica knows them: it looks for them anyway, so that they cost no statement."""
        if self.dead_letters is None:  # the database is away: others may be paused by now
            return None
        if self.pauses is None:
            return []
        return sorted(self.pauses.types) if self.pauses.loaded.is_set() else None

    def report(self) -> dict[str, object]:
        """As /readyz shows it."""
        return {
            "dead_letters": self.dead_letters,
            "stopped_lanes": self.stopped_lanes,
            "refused_events": self.refused,
            "paused_types": self.paused_types,
        }
