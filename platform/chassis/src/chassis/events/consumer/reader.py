"""Reads one stream for a member: its lanes, from their positions, in batches as they come.

The broker is trusted to carry, and with nothing else. Each event is judged by its number: seen
before, the next, or further above. When anything is in doubt the positions are read again and a
new consumer is made.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping

import structlog
from nats.aio.msg import Msg

from chassis.database import Database
from chassis.event_settings import EventSettings
from chassis.events.consumer import positions
from chassis.events.consumer import stopped_lane_rows as stopped_lanes
from chassis.events.consumer.arrival import Arrival, arrival_of
from chassis.events.consumer.asking import Asking
from chassis.events.consumer.behind import Behind, last_events, subjects_behind
from chassis.events.consumer.committer import Committer
from chassis.events.consumer.first_positions import write_first_positions
from chassis.events.consumer.judge import judge
from chassis.events.consumer.lag import Lag, LagUnknown
from chassis.events.consumer.net import Net
from chassis.events.consumer.positions import Position, PositionMoved, position_of
from chassis.events.consumer.pull import Pull
from chassis.events.consumer.sift import sift
from chassis.events.consumer.start import next_of_subject, start_sequence
from chassis.events.consumer.stopped_lanes import Stops
from chassis.events.consumer.stream_reader import Reopen, StreamReader
from chassis.events.handlers import pauses
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.pauses import Pauses
from chassis.events.jetstream.api import JetStreamError
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.streams import stream_state
from chassis.events.membership.members import Members
from chassis.events.tasks.gate import Gate
from chassis.events.wire import transport
from chassis.events.wire.contracts import lane_of_subject, subject_of, subjects_of
from chassis.events.wire.lanes import LANES
from chassis.telemetry import metrics

__all__ = ["Reader"]

_log = structlog.get_logger(__name__)


class Reader(StreamReader):
    """Reads the stream of a service of the platform."""

    def __init__(
        self,
        stream: str,
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
        super().__init__(
            stream, database=database, broker=broker, members=members, settings=settings
        )
        self._handlers = handlers
        self._filters_wanted = [subjects_of(type) for type in handlers]
        self._pauses = pauses
        self.stops = Stops(stream, settings.stopped_retry_seconds)
        self._committer = Committer(
            stream,
            handlers,
            database=database,
            gate=gate,
            settings=settings,
            version=members.version,
            on_tasks=on_tasks,
        )
        self._passed_over: set[str] = set()
        self._net = Net()
        self._waited = False
        self._known_types: set[str] = set()
        self._asking = Asking(stream, broker, self.stops, self._sent_again)
        self._lag = Lag(stream, handlers, database=database, broker=broker)
        pauses.on_change(lambda: self._interrupt("types were paused or go on"))

    async def stop(self) -> None:
        """Finish the batch in hand, then let the lanes go."""
        self._asking.close()
        await super().stop()

    def look_again(self) -> None:
        """Read positions and stopped lanes again at once. Call on the event loop."""
        self.stops.read_again()
        self._interrupt("an operator has changed something")

    async def lag(self) -> int:
        """Events that the member's lanes hold and that are not taken yet. Raises as Lag.count."""
        if not self._members.joined.is_set():
            raise LagUnknown("the member does not know its lanes yet")
        return await self._lag.count(sorted(self._members.lanes))

    async def lag_of_all(self) -> int:
        """The same of all lanes, over all members. Raises as Lag.count."""
        return await self._lag.count(range(LANES))

    # --- when to look again --------------------------------------------------------------------

    def _lanes_changed(self) -> None:
        if self._lanes.are_other_than(self.stops.resting):
            self._interrupt("the lanes have changed")

    def _sent_again(self) -> None:
        self._interrupt("what was missing has come")

    def _until_next_look(self) -> float:
        """Seconds until a lane that is held by another, contested or stopped may start."""
        now = time.monotonic()
        times = [max(0.01, stop.again_at - now) for stop in self.stops.all if not stop.found]
        return min([self._settings.net_seconds, self._lanes.next_look(), *times])

    # --- reading --------------------------------------------------------------------------------

    async def _no_stream(self) -> None:
        self._waited = True
        await self._ask_producer()

    async def _read(self) -> None:
        self._changed.clear()
        await self._ensure_positions()
        await self._lanes.take(self.stops.resting)
        known, paused, told = await self._database.read(
            lambda tx: (
                positions.load(tx.session, self.stream),
                pauses.load(tx.session),
                stopped_lanes.load(tx.session, self.stream),
            )
        )
        self._pauses.found(paused)
        self._review_stops(known)
        await self._look_at_stops()
        if stopped_lanes.differ(told, self.stops.all, self._judged_lanes()):
            await self._write_stops()
        self._has_read = True
        lanes = self.reading - self.stops.resting
        at = {s: known[s] for s in self._subjects(lanes, but=self._pauses.types)}
        await self._take_sent_again(at)
        start = await self._start(at)
        self._stream_is_there()
        if not at:
            await self._sleep(self._until_next_look())
            return
        filters = self._filters(at)
        self._pull = self._new_pull()
        try:
            await self._pull.open(filters, start)
            await self._take_batches(self._pull, at)
        finally:
            pull, self._pull = self._pull, None
            await pull.close()

    def _subjects(self, lanes: Iterable[int], but: Collection[str] = ()) -> list[str]:
        types = [type for type in self._handlers if type not in but]
        return [subject_of(type, lane) for lane in lanes for type in types]

    def _filters(self, subjects: Collection[str]) -> list[str]:
        if len(subjects) == LANES * len(self._handlers):
            return [subjects_of(type) for type in self._handlers]
        return sorted(subjects)

    async def _take_batches(self, pull: Pull, at: dict[str, Position]) -> None:
        checked = time.monotonic()
        self._net = Net()
        while not self._stopping and not self._changed.is_set():
            messages = await pull.next_batch(
                self._settings.batch_max_events, self._until_next_look()
            )
            if messages:
                await self._take(messages, at)
            if await self._lanes.some_freed():
                raise Reopen("another member has let lanes go")
            if time.monotonic() - checked > self._settings.net_seconds:
                checked = time.monotonic()
                await self._check(at)
                if self.stops.all:
                    self._review_stops(await self._positions())
            await self._look_at_stops()
            if self.stops.changed:
                await self._write_stops()
            if self._lanes.are_other_than(self.stops.resting):
                return

    async def _positions(self) -> dict[str, Position]:
        return await self._database.read(lambda tx: positions.load(tx.session, self.stream))

    def _review_stops(self, known: Mapping[str, Position]) -> None:
        """Forget what no longer holds; stop the lanes whose positions are missing."""
        self.stops.review(known, self._members.lanes)
        for subject in self._subjects(sorted(self.reading - self.stops.resting)):
            if subject not in known:
                lane = lane_of_subject(subject)
                self.stops.stop(lane, subject, "its position is missing: its row was deleted", None)

    def _judged_lanes(self) -> frozenset[int]:
        """Lanes of which this member knows whether they are stopped."""
        return self.reading | {stop.lane for stop in self.stops.all}

    async def _write_stops(self) -> None:
        """Let other processes see which lanes are stopped, and why."""
        self.stops.changed = False
        stops, lanes = list(self.stops.all), self._judged_lanes()
        await self._database.transaction(
            lambda tx: stopped_lanes.write(tx.session, self.stream, stops, lanes)
        )

    async def _look_at_stops(self) -> None:
        """Ask for what stopped lanes wait for: to read them again would hold the others up."""
        for stop in self.stops.due:
            if stop.position and await self._may_go_on(stop.subject, stop.position):
                self.stops.go_on(stop)
            else:
                self.stops.rest(stop)
                self._asking.ask(stop)

    async def _may_go_on(self, subject: str, position: Position) -> bool:
        client = self._broker.client
        last = (await last_events(client, self.stream, [subject])).get(subject)
        if last is None:
            return False
        here = await next_of_subject(client, self.stream, subject, position, last.sequence)
        if here is None:
            return False
        return judge(position_of(here.headers, here.sequence), position).kind == "next"

    async def _start(self, at: Mapping[str, Position]) -> int:
        """The sequence to start at."""
        state = await stream_state(self._broker.client, self.stream)
        if not state.config.get("allow_direct"):
            raise JetStreamError(
                503, 0, f"stream {self.stream!r} allows no direct gets: set allow_direct in it"
            )
        self._suspicions.end_at(state.last_sequence)
        self._committer.begin(state.last_sequence)
        behind = await self._subjects_behind(at)
        return await start_sequence(
            self._broker.client, self.stream, at, behind, state.last_sequence + 1
        )

    async def _subjects_behind(self, at: Mapping[str, Position]) -> dict[str, Behind]:
        return subjects_behind(await last_events(self._broker.client, self.stream, at), at)

    async def _check(self, at: Mapping[str, Position]) -> None:
        """The net: a subject is missed that was passed, or stays behind though nothing arrives."""
        state = await stream_state(self._broker.client, self.stream)
        if self._net.knows(state):
            return
        if missed := self._net.missed(state, await self._subjects_behind(at), at):
            raise Reopen(f"{len(missed)} subjects stay behind")

    # --- judging by number ----------------------------------------------------------------------

    async def _take(self, messages: Iterable[Msg], at: dict[str, Position]) -> None:
        arrivals: list[Arrival] = []
        for message in messages:
            self._net.message_arrived()
            arrival = arrival_of(message)
            if arrival is None:
                self._pass_over(message.subject)
                continue
            self._net.read_to(arrival.position.sequence)
            if arrival.subject in at:
                arrivals.append(arrival)
        doubtful = await self._take_next(arrivals, at)
        if self.stops.changed:
            await self._write_stops()
        if doubtful:
            await self._ask_producer()
            for stop in self.stops.all:
                if stop.lane in doubtful:
                    self._asking.ask(stop)
            raise Reopen("numbers are missing")

    async def _take_next(self, arrivals: Iterable[Arrival], at: dict[str, Position]) -> set[int]:
        """Let those that are next take effect. Returns the lanes in doubt: they go no further."""
        sifted = sift(arrivals, at)
        for arrival in sifted.seen:
            metrics.EVENTS_SEEN_AGAIN.labels(arrival.type).inc()
        for doubt in sifted.doubts:
            if doubt.verdict.kind == "ahead":
                self.stops.gap(doubt.arrival, doubt.position)
            else:
                here = doubt.arrival
                self.stops.stop(here.lane, here.subject, doubt.verdict.reason, doubt.position)
        if sifted.next:
            await self._commit(sifted.next, at)
        return {doubt.arrival.lane for doubt in sifted.doubts}

    async def _take_sent_again(self, at: dict[str, Position]) -> None:
        """What the producer has sent again for lanes that were stopped, and are marked now."""
        stopped = {s.subject: s for s in self.stops.all if s.missing and s.subject in at}
        await self._take_next(self._asking.take({s: at[s] for s in stopped}), at)
        for subject, stop in stopped.items():
            taken = at[subject]
            if stop.position != taken and stop.missing and taken.number < stop.missing.last:
                self._asking.ask(self.stops.narrow(stop, taken))
        for subject in [s for s in at if lane_of_subject(s) in self.stops.resting]:
            del at[subject]

    def _pass_over(self, subject: str) -> None:
        if subject not in self._passed_over:
            self._passed_over.add(subject)
            _log.warning("messages not published by a relay; skipping them", subject=subject)

    async def _commit(self, arrivals: list[Arrival], at: dict[str, Position]) -> None:
        self._suspicions.mark(arrivals)
        try:
            async for taken in self._committer.commit(arrivals, at):
                for arrival in taken:
                    at[arrival.place] = arrival.position
                    self.stops.taken(arrival)
                    self._suspicions.taken(arrival)
        except PositionMoved:
            await self._refused(at)
            raise

    async def _refused(self, at: Mapping[str, Position]) -> None:
        """Leave the contested lanes alone for a moment; the others go on."""
        known = await self._positions()
        moved = {subject for subject, position in at.items() if known.get(subject) != position}
        lanes = {lane_of_subject(subject) for subject in moved}
        self._lanes.contest(lanes)
        _log.info(
            "commit refused because another member handled the events; pausing these lanes",
            lanes=sorted(lanes),
        )

    # --- around ---------------------------------------------------------------------------------

    async def _ensure_positions(self) -> None:
        new = self._handlers.keys() - self._known_types
        if new:
            await write_first_positions(
                self._database,
                self._broker.client,
                self.stream,
                [self._handlers[type] for type in sorted(new)],
                waited=self._waited,
            )
            self._known_types |= new

    async def _ask_producer(self) -> None:
        """Let the stream's owner compare it with its outbox now; a hint, nothing rests on it."""
        if self._broker.client.is_connected:
            await self._broker.client.publish(
                transport.wake_subject(self.stream), transport.RECONCILE
            )
