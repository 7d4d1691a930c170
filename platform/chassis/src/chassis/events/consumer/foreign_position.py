"""Where reading a foreign stream begins: after the stored position, if it is of this stream."""

import structlog
from nats.aio.client import Client
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.database import Database
from chassis.events.consumer import foreign_rows
from chassis.events.consumer.lag import LagUnknown
from chassis.events.consumer.position import Position
from chassis.events.consumer.read_loop import Reopen
from chassis.events.handlers.router import Foreign
from chassis.events.jetstream.api import StreamGone
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.consumers import count_from
from chassis.events.jetstream.stored_messages import stored_at
from chassis.events.jetstream.streams import StreamState, stream_state
from chassis.events.wire import event_headers

__all__ = ["ForeignPosition", "sequence_after"]

_log = structlog.get_logger(__name__)


class ForeignPosition:
    """The stored position of one subject of a foreign stream.

    If it `begins_at_newest`, a service that has no position yet starts after the stream's last
    message, and otherwise at its oldest.
    """

    def __init__(
        self, foreign: Foreign, database: Database, broker: Broker, *, begins_at_newest: bool
    ) -> None:
        self._foreign = foreign
        self._database = database
        self._broker = broker
        self._begins_at_newest = begins_at_newest

    async def load(self) -> Position | None:
        """Return the stored position; None if nothing was read yet."""
        return await self._database.read(lambda tx: foreign_rows.load(tx.session, self._foreign))

    def load_by_subject(self, session: Session) -> dict[str, Position]:
        """Return the stored position by the handlers' subject, as a committer needs it."""
        position = foreign_rows.load(session, self._foreign)
        return {self._foreign.subject: position} if position else {}

    async def load_or_begin(self, state: StreamState) -> Position:
        """Return the stored position, or store the first one.

        Raises:
            Reopen: another replica has stored the first one in the meantime.
        """
        stored = await self.load()
        if stored:
            return stored
        last = state.last_sequence if self._begins_at_newest else 0
        first = Position(last, state.created, last)
        try:
            await self._database.transaction(
                lambda tx: foreign_rows.insert_first(tx.session, self._foreign, first)
            )
        except IntegrityError:
            raise Reopen("another replica has stored the first position") from None
        return first

    async def move(self, old: Position, new: Position) -> None:
        """Move the position past messages that are not events of this service.

        Raises:
            PositionMoved: another member has moved it.
        """
        await self._database.transaction(
            lambda tx: foreign_rows.move(tx.session, self._foreign, old, new)
        )

    async def find_start(self, client: Client, position: Position, state: StreamState) -> int:
        """Return the sequence at which to begin, and log if messages may be missing or repeated."""
        start = sequence_after(position, state)
        if start > 1 and position.event_id:
            stored = await stored_at(client, self._foreign.stream, position.sequence)
            if stored and event_headers.event_id(stored.headers) != position.event_id:
                start = 1
        if start == 1 < position.sequence:
            _log.warning(
                "foreign stream was recreated or restored; reading from its oldest message",
                stream=self._foreign.stream,
                subject=self._foreign.subject,
            )
        elif 1 < start < state.first_sequence:
            _log.warning(
                "foreign stream deleted unread messages; reading from its oldest message",
                stream=self._foreign.stream,
                subject=self._foreign.subject,
                last_read_sequence=position.sequence,
                oldest_sequence=state.first_sequence,
            )
        return start

    async def lag(self) -> int:
        """Return the number of messages after the position, those of other types included.

        Raises:
            LagUnknown: the stream that was read is missing.
            DatabaseDown, ConnectionLost, JetStreamError, nats.errors.Error, TimeoutError: it cannot
                be counted now.
        """
        stored = await self.load()
        client, stream = self._broker.client, self._foreign.stream
        try:
            state = await stream_state(client, stream)
        except StreamGone as error:
            if stored:
                raise LagUnknown(f"stream {stream!r} is missing") from error
            return 0
        if stored is None and self._begins_at_newest:
            return 0
        start = sequence_after(stored, state) if stored else 1
        if start > state.last_sequence:
            return 0
        return await count_from(client, stream, self._foreign.subject, start)


def sequence_after(position: Position, state: StreamState) -> int:
    """Return the sequence after a position; 1 if the position is of an earlier stream."""
    same = position.generation == state.created and position.sequence <= state.last_sequence
    return position.sequence + 1 if same else 1
