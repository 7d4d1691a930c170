"""Processing the events of the platform's own streams, which have numbers."""

from collections.abc import Iterable, Mapping

import structlog

from chassis.database import Database
from chassis.events.consumer import position_rows
from chassis.events.consumer.arrival import Arrival, arrival_of
from chassis.events.consumer.committer import Committer
from chassis.events.consumer.held_lanes import HeldLanes
from chassis.events.consumer.lane_recovery import LaneRecovery
from chassis.events.consumer.position import Position, PositionMoved
from chassis.events.consumer.read_loop import Reopen
from chassis.events.consumer.sift import sift
from chassis.events.consumer.stopped_lanes import StoppedLanes
from chassis.events.jetstream.delivery import Delivery
from chassis.events.wire.contracts import lane_of_subject
from chassis.telemetry import metrics

__all__ = ["NumberedEvents"]

_log = structlog.get_logger(__name__)


class NumberedEvents:
    """Judges events by their numbers, commits the next ones, and stops the lanes in doubt.

    Its methods advance the `positions` that they are given.
    """

    def __init__(
        self,
        stream: str,
        committer: Committer,
        lanes: HeldLanes,
        stopped_lanes: StoppedLanes,
        recovery: LaneRecovery,
        database: Database,
    ) -> None:
        self._stream = stream
        self._committer = committer
        self._lanes = lanes
        self._stopped_lanes = stopped_lanes
        self._recovery = recovery
        self._database = database
        self._skipped_subjects: set[str] = set()

    def arrivals_of(self, messages: Iterable[Delivery]) -> list[Arrival]:
        """Return the events of these messages; those without a number are skipped."""
        arrivals: list[Arrival] = []
        for message in messages:
            arrival = arrival_of(message)
            if arrival is None:
                self._log_skipped(message.subject)
            else:
                arrivals.append(arrival)
        return arrivals

    async def process(self, arrivals: Iterable[Arrival], positions: dict[str, Position]) -> None:
        """Let the next events of these positions take effect.

        Raises:
            Reopen: numbers are missing, or cannot be compared with the position.
            PositionMoved: another member has processed some of the events.
            DatabaseDown, ConnectionLost: read the positions again.
        """
        doubtful = await self._process_next(
            [arrival for arrival in arrivals if arrival.subject in positions], positions
        )
        await self._recovery.record_changes()
        if doubtful:
            await self._recovery.find_missing(doubtful)
            raise Reopen("numbers are missing")

    async def process_resent(self, positions: dict[str, Position]) -> None:
        """Let the events take effect that were resent for stopped lanes, which are marked now.

        Removes the positions of the lanes that are still stopped. Raises as `process`, but for
        Reopen.
        """
        stops, resent = self._recovery.collect_resent(positions)
        await self._process_next(resent, positions)
        self._recovery.request_rest(stops, positions)
        excluded = self._stopped_lanes.excluded
        for subject in [s for s in positions if lane_of_subject(s) in excluded]:
            del positions[subject]

    async def _process_next(
        self, arrivals: Iterable[Arrival], positions: dict[str, Position]
    ) -> set[int]:
        """Commit the next events, and return the lanes in doubt."""
        sifted = sift(arrivals, positions)
        for arrival in sifted.seen:
            metrics.EVENTS_SEEN_AGAIN.labels(arrival.type).inc()
        for doubt in sifted.doubts:
            if doubt.verdict.kind == "gap":
                self._stopped_lanes.note_gap(doubt.arrival, doubt.position)
            else:
                event = doubt.arrival
                reason = doubt.verdict.reason
                self._stopped_lanes.stop(event.lane, event.subject, reason, doubt.position)
        if sifted.next:
            await self._commit(sifted.next, positions)
        return {doubt.arrival.lane for doubt in sifted.doubts}

    async def _commit(self, arrivals: list[Arrival], positions: dict[str, Position]) -> None:
        """Commit events, and advance the positions and the stopped lanes after each transaction."""
        try:
            async for committed in self._committer.commit(arrivals, positions):
                for arrival in committed:
                    positions[arrival.subject] = arrival.position
                self._stopped_lanes.note_processed(committed)
        except PositionMoved:
            await self._leave_contested_lanes(positions)
            raise

    async def _leave_contested_lanes(self, positions: Mapping[str, Position]) -> None:
        """Leave the lanes alone whose positions another member has moved; the others continue."""
        stored = await self._database.read(lambda tx: position_rows.load(tx.session, self._stream))
        moved = {s for s, position in positions.items() if stored.get(s) != position}
        lanes = {lane_of_subject(subject) for subject in moved}
        self._lanes.leave_contested(lanes)
        _log.info(
            "commit refused because another member handled the events; pausing these lanes",
            lanes=sorted(lanes),
        )

    def _log_skipped(self, subject: str) -> None:
        """Log once per subject that messages without a number are skipped."""
        if subject not in self._skipped_subjects:
            self._skipped_subjects.add(subject)
            _log.warning("messages not published by a relay; skipping them", subject=subject)
