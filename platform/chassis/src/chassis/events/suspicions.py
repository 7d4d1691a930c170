"""Lanes whose first events a member that vanished may have had in hand: one may have killed it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chassis.events.arrival import Arrival

__all__ = ["Suspicions"]


@dataclass(slots=True)
class _Suspicion:
    """So many events, none of them further on in the stream than `up_to_sequence`."""

    events: int
    up_to_sequence: int = 0


class Suspicions:
    """Which events of a stream are to run alone."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._by_lane: dict[int, _Suspicion] = {}

    def add(self, lanes: Iterable[int]) -> None:
        """As many events of each lane are suspect as a batch may hold."""
        self._by_lane.update({lane: _Suspicion(self._events) for lane in lanes})

    def end_at(self, sequence: int) -> None:
        """What comes after the stream's end as it was then was in nobody's hand."""
        for suspicion in self._by_lane.values():
            suspicion.up_to_sequence = suspicion.up_to_sequence or sequence

    def mark(self, arrivals: Sequence[Arrival]) -> None:
        """Mark those that are suspect."""
        left = {lane: suspicion.events for lane, suspicion in self._by_lane.items()}
        for arrival in arrivals:
            suspicion = self._by_lane.get(arrival.lane)
            if suspicion is None:
                continue
            if left[arrival.lane] > 0 and arrival.position.sequence <= suspicion.up_to_sequence:
                arrival.suspect = True
                left[arrival.lane] -= 1
            else:
                del self._by_lane[arrival.lane]

    def taken(self, arrival: Arrival) -> None:
        """One of them has been stored, to run alone."""
        suspicion = self._by_lane.get(arrival.lane)
        if arrival.suspect and suspicion:
            suspicion.events -= 1
