"""Events that are committed one by one because a connection was lost with them in hand."""

from collections.abc import Sequence

from chassis.events.consumer.arrival import Arrival

__all__ = ["OneByOne"]


class OneByOne:
    """Remembers up to which stream sequence events run one by one.

    A handler of one of them may have ended the connection. Events above that sequence are
    committed together as usual.
    """

    def __init__(self) -> None:
        self._until_sequence = 0

    def connection_lost(self, arrivals: Sequence[Arrival]) -> None:
        """Let these events, which are in stream order, run one by one from now on."""
        self._until_sequence = arrivals[-1].position.sequence

    def stream_ends_at(self, sequence: int) -> None:
        """Forget the events if the stream ends before them: they were in an earlier stream."""
        if sequence < self._until_sequence:
            self._until_sequence = 0

    def split(self, arrivals: list[Arrival]) -> list[list[Arrival]]:
        """Return what to commit in one transaction each, in order."""
        single = [[a] for a in arrivals if a.position.sequence <= self._until_sequence]
        rest = arrivals[len(single) :]
        return [*single, rest] if rest else single

    def committed(self, arrivals: Sequence[Arrival]) -> None:
        """Forget the events once all of them have been committed."""
        if arrivals[-1].position.sequence >= self._until_sequence:
            self._until_sequence = 0
