"""Reading the stream of a service of the platform: a member's lanes, from their positions.

The broker is only trusted to carry messages. Each event is judged by its number: it was seen
before, is the next one, or comes after a gap. When anything is in doubt, the positions are read
again and a new consumer is created.
"""

import time
from collections.abc import Mapping

from chassis.events.consumer import position_rows, stopped_lane_rows
from chassis.events.consumer.backlog import find_backlogs
from chassis.events.consumer.committer import Committer
from chassis.events.consumer.dependencies import ReaderDependencies
from chassis.events.consumer.first_positions import FirstPositions
from chassis.events.consumer.held_lanes import HeldLanes
from chassis.events.consumer.lag import Lag, lanes_of_member
from chassis.events.consumer.lane_recovery import LaneRecovery
from chassis.events.consumer.numbered_events import NumberedEvents
from chassis.events.consumer.position import Position
from chassis.events.consumer.producer_requests import request_reconcile
from chassis.events.consumer.pull import Pull
from chassis.events.consumer.read_loop import ReadLoop, Reopen
from chassis.events.consumer.resend_requests import ResendRequests
from chassis.events.consumer.safety_net import SafetyNet
from chassis.events.consumer.start import start_sequence
from chassis.events.consumer.stopped_lanes import StoppedLanes
from chassis.events.consumer.subjects import consumer_filters, subjects_of_lanes
from chassis.events.consumer.suspicions import Suspicions
from chassis.events.handlers import pauses
from chassis.events.handlers.binding import Handler
from chassis.events.jetstream import owned_stream
from chassis.events.jetstream.api import JetStreamError
from chassis.events.jetstream.hindrance import Hindrance
from chassis.events.jetstream.streams import stream_state
from chassis.events.wire.contracts import subjects_of
from chassis.events.wire.lanes import LANES

__all__ = ["Reader"]


class Reader:
    """Reads one stream for a member. `handlers` are those of the stream's types."""

    def __init__(
        self, stream: str, handlers: Mapping[str, Handler], dependencies: ReaderDependencies
    ) -> None:
        database, broker = dependencies.database, dependencies.broker
        members, settings = dependencies.members, dependencies.settings
        self.stream = stream
        self.stopped_lanes = StoppedLanes(stream, settings.stopped_retry_seconds)
        self._types = list(handlers)
        self._dependencies = dependencies
        suspicions = Suspicions(settings.batch_max_events)
        self._lanes = HeldLanes(
            stream, database, members, suspicions, excluded=lambda: self.stopped_lanes.excluded
        )
        self._loop = ReadLoop(
            stream,
            self._lanes,
            dependencies,
            filters=[subjects_of(type) for type in handlers],
            if_missing=owned_stream.explain_missing(stream, stream),
        )
        requests = ResendRequests(
            stream,
            broker,
            self.stopped_lanes,
            on_resent=lambda: self._loop.interrupt("missing events were resent"),
        )
        self._recovery = LaneRecovery(
            stream, self._types, self.stopped_lanes, self._lanes, requests, dependencies
        )
        self.committer = Committer(stream, handlers, suspicions, dependencies)
        self._events = NumberedEvents(
            stream, self.committer, self._lanes, self.stopped_lanes, self._recovery, database
        )
        self._first_positions = FirstPositions(stream, handlers, database, broker)
        self._lag = Lag(stream, self._types, database=database, broker=broker)

    async def run(self) -> None:
        """Read until `stop`, or until cancelled."""
        await self._loop.run(self._read, self._stream_missing)

    async def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._recovery.close()
        self._loop.stop()

    async def release_lanes(self) -> None:
        """Unmark the lanes, so that other members may read them at once. Call after `run`."""
        await self._lanes.release()

    def refresh(self) -> None:
        """Read positions and stopped lanes again at once. Call on the event loop."""
        self.stopped_lanes.resume_all()
        self._loop.interrupt("an operator has changed something")

    @property
    def lanes(self) -> frozenset[int]:
        """The lanes that are read."""
        return self._lanes.reading

    @property
    def lanes_known(self) -> bool:
        """Whether this reader knows which of its lanes it reads and which ones are stopped."""
        return self._loop.lanes_known and self._dependencies.broker.connected.is_set()

    @property
    def stream_was_missing(self) -> bool:
        """Whether this reader was there before the stream."""
        return self._first_positions.stream_was_missing

    @property
    def hindrance(self) -> Hindrance:
        """Why the stream cannot be read although the broker is connected, if so."""
        return self._loop.hindrance

    async def lag(self) -> int:
        """Return the number of events of this member's lanes that are not processed yet.

        Raises as `Lag.count`.
        """
        return await self._lag.count(sorted(lanes_of_member(self._dependencies.members)))

    async def lag_of_all(self) -> int:
        """Return the number of events that no member has processed yet. Raises as `Lag.count`."""
        return await self._lag.count(range(LANES))

    async def _stream_missing(self) -> None:
        """Remember that the stream was missing, and ask its owner to create it."""
        self._first_positions.stream_was_missing = True
        await request_reconcile(self._dependencies.broker.client, self.stream)

    async def _read(self) -> None:
        """Read from the stored positions until something has changed."""
        await self._first_positions.ensure()
        await self._lanes.mark()
        stored, paused, recorded = await self._dependencies.database.read(
            lambda tx: (
                position_rows.load(tx.session, self.stream),
                pauses.load(tx.session),
                stopped_lane_rows.load(tx.session, self.stream),
            )
        )
        self._dependencies.pauses.found(paused)
        self._recovery.review(stored)
        await self._recovery.check_due()
        await self._recovery.record_differences(recorded)
        self._loop.lanes_known = True
        positions = {subject: stored[subject] for subject in self._subjects_to_read()}
        await self._events.process_resent(positions)
        start = await self._find_start(positions)
        self._loop.stream_found()
        if not positions:
            await self._loop.sleep(self._seconds_until_retry())
            return
        filters = consumer_filters(positions, self._types)
        async with self._loop.open_pull(filters, start) as pull:
            await self._process_batches(pull, positions)

    def _subjects_to_read(self) -> list[str]:
        """Return the subjects to read, without those of paused types and stopped lanes."""
        paused = self._dependencies.pauses.types
        types = [type for type in self._types if type not in paused]
        return subjects_of_lanes(self.lanes - self.stopped_lanes.excluded, types)

    async def _find_start(self, positions: Mapping[str, Position]) -> int:
        """Return the sequence at which a consumer must begin."""
        client = self._dependencies.broker.client
        state = await stream_state(client, self.stream)
        if not state.config.get("allow_direct"):
            raise JetStreamError(
                503, 0, f"stream {self.stream!r} does not allow direct gets; set allow_direct"
            )
        self.committer.stream_ends_at(state.last_sequence)
        backlogs = await find_backlogs(client, self.stream, positions)
        end = state.last_sequence + 1
        return await start_sequence(client, self.stream, positions, backlogs, end)

    async def _process_batches(self, pull: Pull, positions: dict[str, Position]) -> None:
        """Process what the consumer delivers, until the lanes change or the loop is interrupted."""
        settings = self._dependencies.settings
        net, checked_at = SafetyNet(), time.monotonic()
        while self._loop.is_current:
            messages = await pull.next_batch(settings.batch_max_events, self._seconds_until_retry())
            if messages:
                arrivals = self._events.arrivals_of(messages)
                net.note_delivery(arrivals[-1].position.sequence if arrivals else 0)
                await self._events.process(arrivals, positions)
            if await self._lanes.any_available():
                raise Reopen("another member has released lanes")
            if time.monotonic() - checked_at > settings.net_seconds:
                checked_at = time.monotonic()
                if not await self._lanes.are_marked():
                    raise Reopen("another member took this one for dead")
                await self._check_deliveries(net, positions)
                if self.stopped_lanes.all:
                    self._recovery.review(await self._stored_positions())
            await self._recovery.check_due()
            await self._recovery.record_changes()
            if self._lanes.must_change():
                return

    async def _check_deliveries(self, net: SafetyNet, positions: Mapping[str, Position]) -> None:
        """Raise Reopen if the consumer leaves out events that the stream holds."""
        client = self._dependencies.broker.client
        state = await stream_state(client, self.stream)
        if net.has_caught_up(state):
            return
        backlogs = await find_backlogs(client, self.stream, positions)
        if missed := net.find_missed(state, backlogs, positions):
            raise Reopen(f"the consumer leaves out events of {len(missed)} subjects")

    async def _stored_positions(self) -> dict[str, Position]:
        """Read the positions of this stream from the database."""
        return await self._dependencies.database.read(
            lambda tx: position_rows.load(tx.session, self.stream)
        )

    def _seconds_until_retry(self) -> float:
        """Return the seconds until a lane that is held, contested or stopped may start."""
        return min(
            self._dependencies.settings.net_seconds,
            self._lanes.seconds_until_retry(),
            self.stopped_lanes.seconds_until_due(),
        )
