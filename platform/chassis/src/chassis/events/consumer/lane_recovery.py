"""Continuing the stopped lanes of a stream, and telling other processes which ones are stopped."""

from collections.abc import Collection, Mapping, Sequence

from nats.aio.client import Client

from chassis.events.consumer import stopped_lane_rows
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.backlog import last_events
from chassis.events.consumer.dependencies import ReaderDependencies
from chassis.events.consumer.held_lanes import HeldLanes
from chassis.events.consumer.judge import judge
from chassis.events.consumer.position import Position, position_of
from chassis.events.consumer.producer_requests import request_reconcile
from chassis.events.consumer.resend_requests import ResendRequests
from chassis.events.consumer.start import next_of_subject
from chassis.events.consumer.stopped_lane_rows import StoppedLane
from chassis.events.consumer.stopped_lanes import Stop, StoppedLanes
from chassis.events.consumer.subjects import subjects_of_lanes
from chassis.events.wire.contracts import lane_of_subject

__all__ = ["LaneRecovery", "can_continue"]


class LaneRecovery:
    """Checks whether stopped lanes can continue, and requests the events that they miss."""

    def __init__(
        self,
        stream: str,
        types: Collection[str],
        stopped_lanes: StoppedLanes,
        lanes: HeldLanes,
        requests: ResendRequests,
        dependencies: ReaderDependencies,
    ) -> None:
        self._stream = stream
        self._types = types
        self._stopped_lanes = stopped_lanes
        self._lanes = lanes
        self._requests = requests
        self._database = dependencies.database
        self._broker = dependencies.broker
        self._members = dependencies.members

    def review(self, stored: Mapping[str, Position]) -> None:
        """Forget outdated stops, and stop the lanes that have no stored position."""
        self._stopped_lanes.forget_outdated(stored, self._members.lanes)
        lanes = sorted(self._lanes.reading - self._stopped_lanes.excluded)
        for subject in subjects_of_lanes(lanes, self._types):
            if subject not in stored:
                reason = "the row of its position was deleted"
                self._stopped_lanes.stop(lane_of_subject(subject), subject, reason, None)

    async def check_due(self) -> None:
        """Resume the due lanes whose next event is in the stream; request what others miss.

        Nothing is read from a stopped lane to find out, because that would delay the others.
        """
        for stop in self._stopped_lanes.due:
            if stop.position and await can_continue(
                self._broker.client, self._stream, stop.subject, stop.position
            ):
                self._stopped_lanes.resume(stop)
            else:
                self._stopped_lanes.postpone(stop)
                self._requests.request(stop)

    async def find_missing(self, lanes: Collection[int]) -> None:
        """Let the producer fill its stream, and request what these lanes miss."""
        await request_reconcile(self._broker.client, self._stream)
        for stop in self._stopped_lanes.all:
            if stop.lane in lanes:
                self._requests.request(stop)

    def collect_resent(self, positions: Mapping[str, Position]) -> tuple[list[Stop], list[Arrival]]:
        """Return the stops of these subjects that have a gap, and the events resent for them."""
        stops = [stop for stop in self._stopped_lanes.all if stop.missing]
        stops = [stop for stop in stops if stop.subject in positions]
        return stops, self._requests.collect({s.subject: positions[s.subject] for s in stops})

    def request_rest(self, stops: Sequence[Stop], positions: Mapping[str, Position]) -> None:
        """Keep lanes stopped whose gap was filled in part, and request the rest of it."""
        for stop in stops:
            position = positions[stop.subject]
            if stop.position != position and stop.missing and position.number < stop.missing.last:
                self._requests.request(self._stopped_lanes.narrow_gap(stop, position))

    async def record_changes(self) -> None:
        """Write the stopped lanes to the database if they have changed since the last time."""
        if self._stopped_lanes.changed:
            await self._record()

    async def record_differences(self, recorded: Collection[StoppedLane]) -> None:
        """Write the stopped lanes to the database if its rows, as just read, say otherwise."""
        if stopped_lane_rows.differ(recorded, self._stopped_lanes.all, self._judged_lanes()):
            await self._record()

    def close(self) -> None:
        """Cancel the requests to the producer."""
        self._requests.cancel()

    async def _record(self) -> None:
        """Replace the rows of the lanes that this member judges."""
        self._stopped_lanes.changed = False
        stops, lanes = list(self._stopped_lanes.all), self._judged_lanes()
        await self._database.transaction(
            lambda tx: stopped_lane_rows.write(tx.session, self._stream, stops, lanes)
        )

    def _judged_lanes(self) -> frozenset[int]:
        """Return the lanes of which this member knows whether they are stopped."""
        return self._lanes.reading | {stop.lane for stop in self._stopped_lanes.all}


async def can_continue(client: Client, stream: str, subject: str, position: Position) -> bool:
    """Return whether the stream holds the next event after a position."""
    last = (await last_events(client, stream, [subject])).get(subject)
    if last is None:
        return False
    event = await next_of_subject(client, stream, subject, position, last.sequence)
    if event is None:
        return False
    judged = position_of(event.headers, event.sequence)
    return judge(event=judged, stored=position).kind == "next"
