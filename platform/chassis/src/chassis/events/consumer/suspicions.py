"""Events that a vanished member may have been handling: one of them may have killed it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chassis.events.consumer.arrival import Arrival

__all__ = ["Suspicions"]


@dataclass(slots=True)
class _Suspicion:
    """The first `events` of one member's lanes in stream order, up to `up_to_sequence`."""

    events: int
    up_to_sequence: int = 0


class Suspicions:
    """The events of a stream that a member was perhaps handling when its process died.

    Each of them runs while no other event does. A member had at most `batch_size` in hand.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._by_lane: dict[int, _Suspicion] = {}

    def add(self, lanes: Mapping[int, str]) -> None:
        """Suspect the first events of these lanes; their values are the members that vanished."""
        by_member = {member: _Suspicion(self._batch_size) for member in lanes.values()}
        self._by_lane.update({lane: by_member[member] for lane, member in lanes.items()})

    def end_at(self, sequence: int) -> None:
        """Limit suspicions that have no limit yet to this end of the stream.

        No vanished member can have handled events that are stored after it vanished.
        """
        for suspicion in self._by_lane.values():
            suspicion.up_to_sequence = suspicion.up_to_sequence or sequence

    def mark(self, arrivals: Sequence[Arrival]) -> None:
        """Mark the arrivals that are suspect."""
        if not self._by_lane:
            return
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

    def note_processed(self, arrivals: Iterable[Arrival]) -> None:
        """Count suspect arrivals down; after another arrival, end the suspicion of its lane."""
        if not self._by_lane:
            return
        for arrival in arrivals:
            if not arrival.suspect:
                self._by_lane.pop(arrival.lane, None)
            elif suspicion := self._by_lane.get(arrival.lane):
                suspicion.events -= 1
