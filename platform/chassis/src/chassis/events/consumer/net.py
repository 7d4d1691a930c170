"""Finds out that a consumer leaves out events of the stream."""

from collections.abc import Mapping

from chassis.events.consumer.behind import Behind
from chassis.events.consumer.positions import Position
from chassis.events.jetstream.streams import StreamState

__all__ = ["Net"]


class Net:
    """Compares, again and again, what has arrived with what the stream holds above the positions.

    One net serves one consumer.
    """

    def __init__(self) -> None:
        self._behind: set[tuple[str, int]] = set()
        self._all_taken: StreamState | None = None
        self._read_to = 0
        self._arrived = False

    def message_arrived(self) -> None:
        """The consumer delivers."""
        self._arrived = True

    def read_to(self, sequence: int) -> None:
        """The consumer has come to this sequence of the stream."""
        self._read_to = sequence

    def knows(self, state: StreamState) -> bool:
        """Whether all was taken when the stream was in this state."""
        return state == self._all_taken

    def missed(
        self, state: StreamState, behind: Mapping[str, Behind], at: Mapping[str, Position]
    ) -> set[str]:
        """Return the subjects of which the consumer leaves out events.

        The consumer has passed their last event, or nothing has arrived since the last look and
        their positions are where they were. `behind` is what the stream holds above the positions.
        """
        certain = {subject: b for subject, b in behind.items() if b.certain}
        passed = {subject for subject, b in certain.items() if b.last_sequence <= self._read_to}
        now = {(subject, at[subject].number) for subject in certain}
        silent = set() if self._arrived else {subject for subject, _ in now & self._behind}
        self._behind, self._arrived = now, False
        self._all_taken = None if certain or passed or silent else state
        return passed | silent
