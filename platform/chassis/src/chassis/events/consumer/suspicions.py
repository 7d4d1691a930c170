"""What a member that vanished may have had in hand, of the lanes it ran: one may have killed it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chassis.events.consumer.arrival import Arrival

__all__ = ["Suspicions"]


@dataclass(slots=True)
class _Suspicion:
    """So many events of one member's lanes, in the order of the stream, none of them further on in
    it than `up_to_sequence`."""

    events: int
    up_to_sequence: int = 0


class Suspicions:
    """Which events of a stream are to run alone."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._by_lane: dict[int, _Suspicion] = {}

    def add(self, lanes: Mapping[int, str]) -> None:
        """Of the lanes of each member as many events are suspect as a batch may hold."""
        by_member = {member: _Suspicion(self._events) for member in lanes.values()}
        self._by_lane.update({lane: by_member[member] for lane, member in lanes.items()})

    def end_at(self, sequence: int) -> None:
        """What comes after the stream's end as it was then was in nobody's hand."""
        for suspicion in self._by_lane.values():
            suspicion.up_to_sequence = suspicion.up_to_sequence or sequence

    def mark(self, arrivals: Sequence[Arrival]) -> None:
        """Mark those that are suspect."""
        marked: Counter[int] = Counter()
        for arrival in arrivals:
            suspicion = self._by_lane.get(arrival.lane)
            if (
                suspicion
                and marked[id(suspicion)] < suspicion.events
                and arrival.position.sequence <= suspicion.up_to_sequence
            ):
                arrival.suspect = True
                marked[id(suspicion)] += 1

    def taken(self, arrival: Arrival) -> None:
        """A suspect one has been stored, to run alone; after one that is not, its lane is clear."""
        if not arrival.suspect:
            self._by_lane.pop(arrival.lane, None)
        elif suspicion := self._by_lane.get(arrival.lane):
            suspicion.events -= 1
