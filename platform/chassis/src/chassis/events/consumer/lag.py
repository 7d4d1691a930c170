"""How many events of a stream a service has not processed yet: counted exactly, or an error."""

from collections.abc import Collection

from chassis.database import Database
from chassis.events.consumer import position_rows
from chassis.events.consumer.backlog import backlogs_above, last_events
from chassis.events.consumer.position import Position
from chassis.events.jetstream.api import StreamGone
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.streams import StreamState, stream_state
from chassis.events.membership.members import Members
from chassis.events.wire.contracts import subject_of

__all__ = ["Lag", "LagUnknown", "lanes_of_member"]

_NOTHING_PROCESSED = Position(0, "", 0)


class LagUnknown(Exception):
    """The lag of a service cannot be counted now; the message says why."""


def lanes_of_member(members: Members) -> frozenset[int]:
    """Return the member's lanes.

    Raises:
        LagUnknown: the member has not joined yet.
    """
    if not members.joined.is_set():
        raise LagUnknown("the member does not know its lanes yet")
    return members.lanes


class Lag:
    """The lag of one stream. Its last events are read again only when the stream has changed."""

    def __init__(
        self, stream: str, types: Collection[str], *, database: Database, broker: Broker
    ) -> None:
        self._stream = stream
        self._types = types
        self._database = database
        self._broker = broker
        self._last: dict[str, Position] = {}
        self._last_read_at: object = None

    async def count(self, lanes: Collection[int]) -> int:
        """Return the number of events of these lanes above the positions.

        A subject without a position counts from its first event.

        Raises:
            LagUnknown: the stream that positions refer to is missing, or ends with messages that
                are not events.
            DatabaseDown, ConnectionLost, JetStreamError, nats.errors.Error, TimeoutError: it cannot
                be counted now.
        """
        stored = await self._database.read(lambda tx: position_rows.load(tx.session, self._stream))
        subjects = [subject_of(type, lane) for type in self._types for lane in lanes]
        try:
            # This asks the stream's leader; a direct get may be unavailable although it exists.
            state = await stream_state(self._broker.client, self._stream)
        except StreamGone as error:
            if stored:
                raise LagUnknown(
                    f"stream {self._stream!r} is missing; its producer recreates it"
                ) from error
            return 0  # The stream has never existed.
        last = await self._last_events(state, subjects)
        positions = {subject: stored.get(subject, _NOTHING_PROCESSED) for subject in subjects}
        backlogs = backlogs_above(positions, last)
        if uncertain := [subject for subject, b in backlogs.items() if not b.certain]:
            raise LagUnknown(f"{uncertain[0]} ends with many messages that are not events")
        return sum(backlog.events for backlog in backlogs.values())

    async def _last_events(
        self, state: StreamState, subjects: Collection[str]
    ) -> dict[str, Position]:
        """Return the last event of each subject, read again only if the stream has changed."""
        read_at = state.created, state.last_sequence, state.messages, tuple(subjects)
        # A replica of the stream that lags behind its leader may have answered the last time.
        if read_at != self._last_read_at or state.config.get("num_replicas", 1) > 1:
            self._last = await last_events(self._broker.client, self._stream, subjects)
            self._last_read_at = read_at
        return self._last
