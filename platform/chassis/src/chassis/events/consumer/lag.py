"""How many events a service has yet to take from a stream: counted, or an error, never a guess."""

from collections.abc import Collection

from chassis.database import Database
from chassis.events.consumer import positions
from chassis.events.consumer.behind import last_events, subjects_behind
from chassis.events.consumer.positions import Position
from chassis.events.jetstream.api import StreamGone
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.streams import StreamState, stream_state
from chassis.events.wire.contracts import subject_of

__all__ = ["Lag", "LagUnknown"]

_NOTHING_TAKEN = Position(0, "", 0)


class LagUnknown(Exception):
    """How far behind a service is cannot be told now; the message says why."""


class Lag:
    """The lag of one stream. What it ends with is asked for again only when it has grown."""

    def __init__(
        self, stream: str, types: Collection[str], *, database: Database, broker: Broker
    ) -> None:
        self._stream = stream
        self._types = types
        self._database = database
        self._broker = broker
        self._held: dict[str, Position] = {}
        self._held_of: object = None

    async def count(self, lanes: Collection[int]) -> int:
        """Events of these lanes that are held above the positions, or from the first if none is.

        Raises:
            LagUnknown: the stream that positions speak of is not there, or ends with messages that
                are no events.
            DatabaseDown, ConnectionLost, JetStreamError, nats.errors.Error, TimeoutError: it cannot
                be counted now.
        """
        known = await self._database.read(lambda tx: positions.load(tx.session, self._stream))
        subjects = [subject_of(type, lane) for type in self._types for lane in lanes]
        try:
            # Asked of the leader: what answers for the stream itself may only be hindered.
            state = await stream_state(self._broker.client, self._stream)
        except StreamGone as error:
            if known:
                raise LagUnknown(
                    f"stream {self._stream!r} is not there; its producer recreates it"
                ) from error
            return 0  # it was never there
        held = await self._held_now(state, subjects)
        at = {subject: known.get(subject, _NOTHING_TAKEN) for subject in subjects}
        behind = subjects_behind(held, at)
        if hidden := [subject for subject, b in behind.items() if not b.certain]:
            raise LagUnknown(f"{hidden[0]} ends with many messages that are no events")
        return sum(b.events for b in behind.values())

    async def _held_now(self, state: StreamState, subjects: Collection[str]) -> dict[str, Position]:
        held_of = state.created, state.last_sequence, state.messages, tuple(subjects)
        # One of several copies may have answered before it had all.
        if held_of != self._held_of or state.config.get("num_replicas", 1) > 1:
            self._held = await last_events(self._broker.client, self._stream, subjects)
            self._held_of = held_of
        return self._held
