"""The first positions of the event types that a service has never read.

They are written before the first event is read, so that a row which is missing later is an error
and never a new start.
"""

import asyncio
import contextlib
from collections.abc import Mapping

from nats.aio.client import Client
from sqlalchemy.exc import IntegrityError

from chassis.database import Database
from chassis.events.consumer import position_rows
from chassis.events.consumer.backlog import last_events
from chassis.events.consumer.position import ANY, Position, position_of
from chassis.events.consumer.start import first_event
from chassis.events.handlers.binding import Handler
from chassis.events.jetstream.api import StreamGone
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.owned_stream import made_after_rank
from chassis.events.jetstream.stored_messages import Stored
from chassis.events.jetstream.stream_end import last_event, rank_of
from chassis.events.jetstream.streams import StreamState, stream_state
from chassis.events.wire.contracts import subject_of
from chassis.events.wire.lanes import LANES

__all__ = ["FirstPositions", "find_first_positions"]


class FirstPositions:
    """Writes the first positions of one stream.

    `stream_was_missing` is set when this member was there before the stream: all events of such a
    stream are new, even for a handler that starts at the newest.
    """

    def __init__(
        self, stream: str, handlers: Mapping[str, Handler], database: Database, broker: Broker
    ) -> None:
        self._stream = stream
        self._handlers = handlers
        self._database = database
        self._broker = broker
        self._types_written: set[str] = set()
        self.stream_was_missing = False

    async def ensure(self) -> None:
        """Write a position for every subject of the types that have none yet.

        Raises:
            StreamGone: there is no stream, or its producer is still filling it again.
            DatabaseDown, ConnectionLost, JetStreamError: try again later.
        """
        for type in sorted(self._handlers.keys() - self._types_written):
            await self._ensure(self._handlers[type])
            self._types_written.add(type)

    async def _ensure(self, handler: Handler) -> None:
        """Write the positions of one type unless it has some."""
        subjects = [subject_of(handler.type, lane) for lane in range(LANES)]
        if await self._database.read(
            lambda tx: position_rows.subjects_with_position(tx.session, subjects)
        ):
            return
        new = await find_first_positions(
            self._broker.client, self._stream, subjects, handler, self.stream_was_missing
        )
        with contextlib.suppress(IntegrityError):  # Another replica has written them.
            await self._database.transaction(
                lambda tx: position_rows.insert_new(tx.session, self._stream, new)
            )


async def find_first_positions(
    client: Client,
    stream: str,
    subjects: list[str],
    handler: Handler,
    stream_was_missing: bool,
) -> dict[str, Position]:
    """Return the positions from which a handler begins, by subject."""
    state = await stream_state(client, stream)
    sent_before_rank = made_after_rank(state)
    # Events of a subject may have been deleted by age or with an earlier stream; then its next
    # number can be any.
    complete = sent_before_rank == 0 and state.first_sequence <= 1
    empty = Position(0 if complete else ANY, "", 0)
    if handler.start == "newest" and not (stream_was_missing and sent_before_rank == 0):
        await _check_refilled(client, stream, state, sent_before_rank or 0)
        last = await last_events(client, stream, subjects)
        # The last event was not found behind many unnumbered messages: reading some older events
        # is better than stopping the lane.
        unknown = Position(ANY, "", 0)
        return {
            s: (last[s] if last[s].number else unknown) if s in last else empty for s in subjects
        }
    first = await asyncio.gather(*(first_event(client, stream, s, 1) for s in subjects))
    return {
        subject: _position_before(stored) if stored else empty
        for subject, stored in zip(subjects, first, strict=True)
    }


async def _check_refilled(client: Client, stream: str, state: StreamState, up_to_rank: int) -> None:
    """Raise StreamGone while a recreated stream is being filled with the events sent before."""
    last = await last_event(client, stream, state) if up_to_rank else None
    if last and rank_of(last, stream) < up_to_rank:
        raise StreamGone(404, 0, f"stream {stream!r} is being refilled")


def _position_before(stored: Stored) -> Position:
    """Return the position from which a stored event is the next one."""
    first = position_of(stored.headers, stored.sequence)
    return Position(first.number - 1, first.generation, 0, lineage=first.lineage)
