"""A check that a consumer delivers all events of the stream."""

from collections.abc import Mapping

from chassis.events.consumer.backlog import Backlog
from chassis.events.consumer.position import Position
from chassis.events.jetstream.streams import StreamState

__all__ = ["SafetyNet"]


class SafetyNet:
    """Compares at intervals what one consumer has delivered with the backlog of the stream."""

    def __init__(self) -> None:
        self._last_backlogs: set[tuple[str, int]] = set()
        self._caught_up_at: StreamState | None = None
        self._read_to = 0
        self._delivered = False

    def note_delivery(self, sequence: int) -> None:
        """Note a delivery by the consumer.

        `sequence` is that of the last event among the messages, 0 if none of them was an event.
        """
        self._delivered = True
        self._read_to = sequence or self._read_to

    def has_caught_up(self, state: StreamState) -> bool:
        """Return whether the last check found nothing to deliver and the stream has not changed."""
        return state == self._caught_up_at

    def find_missed(
        self,
        state: StreamState,
        backlogs: Mapping[str, Backlog],
        positions: Mapping[str, Position],
    ) -> set[str]:
        """Return the subjects whose events the consumer leaves out.

        The consumer has passed the last event of such a subject, or nothing was delivered since
        the last check and the subject's position is the same.
        """
        certain = {subject: backlog for subject, backlog in backlogs.items() if backlog.certain}
        passed = {
            subject
            for subject, backlog in certain.items()
            if backlog.last_sequence <= self._read_to
        }
        current = {(subject, positions[subject].number) for subject in certain}
        stalled: set[str] = set()
        if not self._delivered:
            stalled = {subject for subject, _ in current & self._last_backlogs}
        self._last_backlogs, self._delivered = current, False
        self._caught_up_at = None if certain or passed or stalled else state
        return passed | stalled
