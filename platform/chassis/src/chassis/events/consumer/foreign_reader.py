"""Reads what handlers ask for of a stream that is no service's of the platform.

Its messages have no numbers of ours. Each is taken once by its CloudEvents source and id, in the
order of the stream, by one member at a time; the position is the stream's own sequence.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import structlog
from nats.aio.msg import Msg
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.database import Database
from chassis.database.tables import LONGEST_NAME
from chassis.event_settings import EventSettings
from chassis.events.consumer import foreign_rows
from chassis.events.consumer.arrival import Arrival, fill
from chassis.events.consumer.committer import Committer
from chassis.events.consumer.lag import LagUnknown
from chassis.events.consumer.positions import Position, PositionMoved
from chassis.events.consumer.stream_reader import Reopen, StreamReader
from chassis.events.handlers import pauses
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.failures import reason_of
from chassis.events.handlers.pauses import Pauses
from chassis.events.handlers.router import Foreign
from chassis.events.jetstream.api import StreamGone
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.consumers import count_from
from chassis.events.jetstream.stored_messages import stored_at
from chassis.events.jetstream.streams import StreamState, stream_state
from chassis.events.membership.members import Members
from chassis.events.tasks.gate import Gate
from chassis.events.wire import transport
from chassis.events.wire.cloudevents import Undecodable, decode
from chassis.events.wire.lanes import LANES, lane_of

__all__ = ["ForeignReader"]

_log = structlog.get_logger(__name__)
_FORGET_SECONDS = 10.0
_FORGET_AT_ONCE = 1000


class ForeignReader(StreamReader):
    """Reads the messages of one subject (wildcards allowed) of a foreign stream.

    Who has the lane that the subject's name falls into reads all of them.
    """

    def __init__(
        self,
        foreign: Foreign,
        handlers: Mapping[str, Handler],
        *,
        database: Database,
        broker: Broker,
        members: Members,
        gate: Gate,
        pauses: Pauses,
        settings: EventSettings,
        on_tasks: Callable[[], None],
    ) -> None:
        self.foreign = foreign
        self._lane = lane_of(f"{foreign.stream} {foreign.subject}")
        self._others = frozenset(range(LANES)) - {self._lane}
        super().__init__(
            foreign.stream,
            database=database,
            broker=broker,
            members=members,
            settings=settings,
            marked_as=f"{foreign.stream} {foreign.subject}",
        )
        self._handlers = handlers
        self._pauses = pauses
        self._committer = Committer(
            foreign.stream,
            handlers,
            database=database,
            gate=gate,
            settings=settings,
            version=members.version,
            on_tasks=on_tasks,
            take_in=partial(foreign_rows.take_in, foreign=foreign),
            load=self._load_places,
        )
        self._forgot_at = 0.0
        pauses.on_change(lambda: self._interrupt("types were paused or go on"))

    def look_again(self) -> None:
        """Read the position again at once. Call on the event loop."""
        self._interrupt("an operator has changed something")

    async def lag(self) -> int:
        """Messages that are not read yet, if this member reads them. Raises as `lag_of_all`."""
        if not self._members.joined.is_set():
            raise LagUnknown("the member does not know its lanes yet")
        return await self.lag_of_all() if self._lane in self._members.lanes else 0

    async def lag_of_all(self) -> int:
        """Messages that no member has read yet, those of other types among them.

        Raises:
            LagUnknown: the stream that was read is not there.
            DatabaseDown, ConnectionLost, JetStreamError, nats.errors.Error, TimeoutError: it cannot
                be counted now.
        """
        known = await self._position()
        client = self._broker.client
        try:
            state = await stream_state(client, self.stream)
        except StreamGone as error:
            if known:
                raise LagUnknown(f"stream {self.stream!r} is not there") from error
            return 0
        if known is None and self._begins_at_newest:
            return 0
        start = self._start(known, state) if known else 1
        if start > state.last_sequence:
            return 0
        return await count_from(client, self.stream, self.foreign.subject, start)

    # --- reading --------------------------------------------------------------------------------

    async def _read(self) -> None:
        self._changed.clear()
        await self._lanes.take(self._others)
        self._pauses.found(await self._database.read(lambda tx: pauses.load(tx.session)))
        if not self.reading or self._handlers.keys() & self._pauses.types:
            self._has_read = True
            await self._sleep(min(self._settings.net_seconds, self._lanes.next_look()))
            return
        state = await stream_state(self._broker.client, self.stream)
        known = await self._position() or await self._begin(state)
        start = await self._checked_start(known, state)
        self._suspicions.end_at(state.last_sequence)
        self._committer.begin(state.last_sequence)
        self._has_read = True
        self._stream_is_there()
        self._pull = self._new_pull()
        try:
            await self._pull.open([self.foreign.subject], start)
            await self._take_batches({self.foreign.subject: known}, state.created)
        finally:
            pull, self._pull = self._pull, None
            await pull.close()

    @property
    def _missing(self) -> str:
        return f"stream {self.stream!r} is missing: its producer outside the platform makes it"

    async def _no_stream(self) -> None:
        """It is its producer's to make."""

    def _lanes_changed(self) -> None:
        if self._lanes.are_other_than(self._others):
            self._interrupt("the lanes have changed")

    async def _take_batches(self, at: dict[str, Position], made: str) -> None:
        assert self._pull
        while not self._stopping and not self._changed.is_set():
            seconds = min(self._settings.net_seconds, self._lanes.next_look())
            messages = await self._pull.next_batch(self._settings.batch_max_events, seconds)
            if messages:
                await self._take(messages, at, made)
            if await self._lanes.some_freed():
                raise Reopen("another member has let lanes go")
            if self._lanes.are_other_than(self._others):
                return
            await self._forget_old()

    async def _take(self, messages: list[Msg], at: dict[str, Position], made: str) -> None:
        arrivals = list(self._arrivals(messages, made))
        end = _place(messages[-1], made)
        if not arrivals:
            before = at[self.foreign.subject]
            await self._database.transaction(
                lambda tx: foreign_rows.move(tx.session, self.foreign, before, end)
            )
            at[self.foreign.subject] = end
            return
        arrivals[-1].position = end  # past those that are passed over
        self._suspicions.mark(arrivals)
        try:
            async for taken in self._committer.commit(arrivals, at):
                for arrival in taken:
                    at[arrival.place] = arrival.position
                    self._suspicions.taken(arrival)
        except PositionMoved:
            self._lanes.contest([self._lane])
            raise

    def _arrivals(self, messages: Iterable[Msg], made: str) -> Iterable[Arrival]:
        """Those of the types that are handled, and what cannot be decoded."""
        for message in messages:
            headers = message.headers or {}
            arrival = Arrival(
                message.subject[:LONGEST_NAME],
                next(iter(self._handlers)),
                self._lane,
                _place(message, made),
                headers,
                message.data,
                asked_by=self.foreign.subject,
            )
            try:
                received = decode(headers, message.data)
            except Undecodable as error:
                arrival.reason = reason_of(error)
            else:
                handler = self._handlers.get(received.context.type)
                if handler is None:
                    continue
                arrival.type = handler.type
                fill(arrival, received, handler)
            yield arrival

    # --- where to begin -------------------------------------------------------------------------

    @property
    def _begins_at_newest(self) -> bool:
        return all(handler.start == "newest" for handler in self._handlers.values())

    async def _begin(self, state: StreamState) -> Position:
        last = state.last_sequence if self._begins_at_newest else 0
        first = Position(last, state.created, last)
        try:
            await self._database.transaction(
                lambda tx: foreign_rows.insert_first(tx.session, self.foreign, first)
            )
        except IntegrityError:
            raise Reopen("another replica was faster") from None
        return first

    def _start(self, known: Position, state: StreamState) -> int:
        same = known.generation == state.created and known.sequence <= state.last_sequence
        return known.sequence + 1 if same else 1

    async def _checked_start(self, known: Position, state: StreamState) -> int:
        """After the position, if it is of this stream; else at the oldest message."""
        start = self._start(known, state)
        if start > 1 and known.event_id:
            stored = await stored_at(self._broker.client, self.stream, known.sequence)
            if stored and transport.event_id(stored.headers) != known.event_id:
                start = 1
        if start == 1 < known.sequence:
            _log.warning(
                "foreign stream was recreated or restored; reading from its oldest message",
                stream=self.stream,
                subject=self.foreign.subject,
            )
        elif 1 < start < state.first_sequence:
            _log.warning(
                "foreign stream deleted unread messages; reading from its oldest message",
                stream=self.stream,
                subject=self.foreign.subject,
                last_read_sequence=known.sequence,
                oldest_sequence=state.first_sequence,
            )
        return start

    # --- rows -----------------------------------------------------------------------------------

    async def _position(self) -> Position | None:
        return await self._database.read(lambda tx: foreign_rows.load(tx.session, self.foreign))

    def _load_places(self, session: Session) -> Mapping[str, Position]:
        position = foreign_rows.load(session, self.foreign)
        return {self.foreign.subject: position} if position else {}

    async def _forget_old(self) -> None:
        """In small parts, now and then."""
        if time.monotonic() - self._forgot_at < _FORGET_SECONDS:
            return
        before = time.time() - self._settings.foreign_id_seconds
        forgotten = await self._database.transaction(
            lambda tx: foreign_rows.forget(tx.session, before, _FORGET_AT_ONCE)
        )
        if forgotten < _FORGET_AT_ONCE:
            self._forgot_at = time.monotonic()


def _place(message: Msg, made: str) -> Position:
    """Where a message stands: its reply subject tells the stream's sequence (ADR-15)."""
    sequence = int(message.reply.split(".")[-4])
    return Position(sequence, made, sequence, transport.event_id(message.headers or {}))
