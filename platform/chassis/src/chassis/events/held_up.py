"""The events of a service that wait for an operator, as they were counted last."""

from collections.abc import Iterable
from dataclasses import dataclass

from chassis.events.consumer.stopped_lane_rows import StoppedLane
from chassis.events.handlers.pauses import Pauses

__all__ = ["HeldUp"]


@dataclass(slots=True)
class HeldUp:
    """Counts over all replicas; each is None while it is unknown."""

    dead_letters: int | None = None
    stopped_lanes: list[str] | None = None
    refused: int | None = None
    pauses: Pauses | None = None
    """The paused types; None in a service that handles no events."""

    def update(self, dead_letters: int, stopped: Iterable[StoppedLane], refused: int) -> None:
        """Set the counts; `refused` counts the service's own events that its stream refused."""
        self.dead_letters = dead_letters
        self.refused = refused
        self.stopped_lanes = [
            f"{stop.subject}: {stop.reason} -> events {stop.verb} {stop.subject}"
            for stop in stopped
        ]

    def forget(self) -> None:
        """Set the counts to unknown."""
        self.dead_letters = self.stopped_lanes = self.refused = None

    @property
    def paused_types(self) -> list[str] | None:
        """The paused types that this replica knows; None if they are unknown.

        The replica reads them anyway to handle events, so that no statement is needed here.
        """
        if self.dead_letters is None:
            # The database is unavailable, and the paused types may have changed there.
            return None
        if self.pauses is None:
            return []
        return sorted(self.pauses.types) if self.pauses.loaded.is_set() else None

    def report(self) -> dict[str, object]:
        """Return the counts as /readyz shows them."""
        return {
            "dead_letters": self.dead_letters,
            "stopped_lanes": self.stopped_lanes,
            "refused_events": self.refused,
            "paused_types": self.paused_types,
        }
