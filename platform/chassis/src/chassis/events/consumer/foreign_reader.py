"""Reading the stream of a producer outside the platform.

Its messages lack the numbers of the platform. A single member at a time processes them in the order
of the stream, each event once by its CloudEvents source and id. The position is the stream's
sequence.
"""

import time
from collections.abc import Mapping
from functools import partial

from chassis.database import Database
from chassis.events.consumer import foreign_rows
from chassis.events.consumer.committer import Committer
from chassis.events.consumer.dependencies import ReaderDependencies
from chassis.events.consumer.foreign_arrivals import foreign_arrivals, foreign_position_of
from chassis.events.consumer.foreign_position import ForeignPosition
from chassis.events.consumer.held_lanes import HeldLanes
from chassis.events.consumer.lag import lanes_of_member
from chassis.events.consumer.position import Position, PositionMoved
from chassis.events.consumer.pull import Pull
from chassis.events.consumer.read_loop import ReadLoop, Reopen
from chassis.events.consumer.suspicions import Suspicions
from chassis.events.handlers import pauses
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.router import Foreign
from chassis.events.jetstream.delivery import Delivery
from chassis.events.jetstream.hindrance import Hindrance
from chassis.events.jetstream.streams import stream_state
from chassis.events.wire.lanes import LANES, lane_of

__all__ = ["FORGET_MAX_EVENTS", "FORGET_SECONDS", "ForeignReader"]

FORGET_SECONDS = 10.0
"""The interval at which old ids are deleted."""
FORGET_MAX_EVENTS = 1000
"""The ids that are deleted in one transaction."""


class ForeignReader:
    """Reads the messages of one subject (wildcards allowed) of a foreign stream.

    The subject's name is hashed into one lane, and the owner of that lane reads all messages.
    """

    def __init__(
        self,
        foreign: Foreign,
        handlers: Mapping[str, Handler],
        dependencies: ReaderDependencies,
    ) -> None:
        database, settings = dependencies.database, dependencies.settings
        name = f"{foreign.stream} {foreign.subject}"
        self.foreign = foreign
        self.stream = foreign.stream
        self.lane = lane_of(name)
        self._handlers = handlers
        self._dependencies = dependencies
        suspicions = Suspicions(settings.batch_max_events)
        other_lanes = frozenset(range(LANES)) - {self.lane}
        self._lanes = HeldLanes(
            name, database, dependencies.members, suspicions, excluded=lambda: other_lanes
        )
        self._loop = ReadLoop(
            self.stream,
            self._lanes,
            dependencies,
            if_missing=f"stream {self.stream!r} is missing; its producer, outside the platform, "
            "must create it",
        )
        self.position = ForeignPosition(
            foreign,
            database,
            dependencies.broker,
            begins_at_newest=all(handler.start == "newest" for handler in handlers.values()),
        )
        self._committer = Committer(
            self.stream,
            handlers,
            suspicions,
            dependencies,
            move=partial(foreign_rows.move_and_record, foreign=foreign),
            load=self.position.load_by_subject,
        )
        self._recorded_ids = _RecordedIds(database, settings.foreign_id_seconds)

    async def run(self) -> None:
        """Read until `stop`, or until cancelled."""
        await self._loop.run(self._read, self._stream_missing)

    async def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._loop.stop()

    async def release_lanes(self) -> None:
        """Unmark the lane, so that another member may read it at once. Call after `run`."""
        await self._lanes.release()

    def refresh(self) -> None:
        """Read the position again at once. Call on the event loop."""
        self._loop.interrupt("an operator has changed something")

    @property
    def lanes(self) -> frozenset[int]:
        """The lane, if this member reads it."""
        return self._lanes.reading

    @property
    def lanes_known(self) -> bool:
        """Whether this reader knows whether it reads its lane."""
        return self._loop.lanes_known and self._dependencies.broker.connected.is_set()

    @property
    def hindrance(self) -> Hindrance:
        """Why the stream cannot be read although the broker is connected, if so."""
        return self._loop.hindrance

    async def lag(self) -> int:
        """Return the number of unread messages if this member reads them, otherwise 0.

        Raises as `ForeignPosition.lag`.
        """
        lanes = lanes_of_member(self._dependencies.members)
        return await self.position.lag() if self.lane in lanes else 0

    async def lag_of_all(self) -> int:
        """Return the number of messages that no member has read yet.

        Raises as `ForeignPosition.lag`.
        """
        return await self.position.lag()

    async def _stream_missing(self) -> None:
        """Do nothing: only its producer creates the stream."""

    async def _read(self) -> None:
        """Read from the stored position until something has changed."""
        database, settings = self._dependencies.database, self._dependencies.settings
        client = self._dependencies.broker.client
        await self._lanes.mark()
        paused = await database.read(lambda tx: pauses.load(tx.session))
        self._dependencies.pauses.found(paused)
        if not self.lanes or self._handlers.keys() & self._dependencies.pauses.types:
            self._loop.lanes_known = True
            await self._loop.sleep(min(settings.net_seconds, self._lanes.seconds_until_retry()))
            return
        state = await stream_state(client, self.stream)
        position = await self.position.load_or_begin(state)
        start = await self.position.find_start(client, position, state)
        self._committer.stream_ends_at(state.last_sequence)
        self._loop.lanes_known = True
        self._loop.stream_found()
        async with self._loop.open_pull([self.foreign.subject], start) as pull:
            await self._process_batches(pull, {self.foreign.subject: position}, state.created)

    async def _process_batches(
        self, pull: Pull, positions: dict[str, Position], created: str
    ) -> None:
        """Process what the consumer delivers, until the lane moves or the loop is interrupted."""
        settings = self._dependencies.settings
        while self._loop.is_current:
            seconds = min(settings.net_seconds, self._lanes.seconds_until_retry())
            messages = await pull.next_batch(settings.batch_max_events, seconds)
            if messages:
                await self._process(messages, positions, created)
            elif not await self._lanes.are_marked():
                raise Reopen("another member took this one for dead")
            if await self._lanes.any_available():
                raise Reopen("another member has released its lane")
            if self._lanes.must_change():
                return
            await self._recorded_ids.forget_old()

    async def _process(
        self, messages: list[Delivery], positions: dict[str, Position], created: str
    ) -> None:
        """Let the events of these messages take effect, and move the position past all of them."""
        subject = self.foreign.subject
        arrivals = list(
            foreign_arrivals(
                messages, self._handlers, subject=subject, lane=self.lane, created=created
            )
        )
        end = foreign_position_of(messages[-1], created)
        if not arrivals:
            await self.position.move(positions[subject], end)
            positions[subject] = end
            return
        # The position also moves past later messages of other types.
        arrivals[-1].position = end
        try:
            async for committed in self._committer.commit(arrivals, positions):
                for arrival in committed:
                    positions[arrival.position_subject] = arrival.position
        except PositionMoved:
            self._lanes.leave_contested([self.lane])
            raise


class _RecordedIds:
    """The recorded ids of processed events, deleted once they are older than `keep_seconds`."""

    def __init__(self, database: Database, keep_seconds: float) -> None:
        self._database = database
        self._keep_seconds = keep_seconds
        self._all_forgotten_at = 0.0

    async def forget_old(self) -> None:
        """Delete some old ids, unless all were deleted within the last `FORGET_SECONDS`."""
        if time.monotonic() - self._all_forgotten_at < FORGET_SECONDS:
            return
        before = time.time() - self._keep_seconds
        forgotten = await self._database.transaction(
            lambda tx: foreign_rows.forget(tx.session, before, FORGET_MAX_EVENTS)
        )
        if forgotten < FORGET_MAX_EVENTS:
            self._all_forgotten_at = time.monotonic()
