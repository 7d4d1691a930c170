"""The stopped lanes of a stream, and the gaps in numbers that may stop a lane."""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import structlog

from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.position import Position
from chassis.events.wire import event_headers
from chassis.events.wire.contracts import lane_of_subject
from chassis.events.wire.resending import Missing
from chassis.telemetry import metrics

__all__ = ["Stop", "StoppedLanes"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a lane is stopped, at which position, and when to check it again (monotonic seconds).

    `missing` are the numbers that it waits for, if that is the reason. `resumed`: what it waits for
    is there, so that the lane is read again.
    """

    lane: int
    subject: str
    reason: str
    position: Position | None
    retry_at: float
    missing: Missing | None = None
    resumed: bool = False

    @property
    def verb(self) -> str:
        """The verb, with its options, of `events <verb> <subject>`, which continues the lane.

        An operator replaces NUMBER by the number to continue with, which the deleted position knew.
        """
        if self.missing:
            return "skip"
        return "start-over" if self.position else "start-over --from NUMBER"


class StoppedLanes:
    """The lanes that are not read because continuing could lose an event.

    `changed` is set when lanes stop or continue; its reader resets it.
    """

    def __init__(self, stream: str, retry_seconds: float) -> None:
        self._stream = stream
        self._retry_seconds = retry_seconds
        self._by_lane: dict[int, Stop] = {}
        self._gaps_seen_once: dict[str, int] = {}
        self.changed = False

    @property
    def all(self) -> Collection[Stop]:
        """The stop of each stopped lane."""
        return self._by_lane.values()

    @property
    def excluded(self) -> set[int]:
        """The lanes that must not be read."""
        return {stop.lane for stop in self.all if not stop.resumed}

    @property
    def due(self) -> list[Stop]:
        """The stops to check now."""
        now = time.monotonic()
        return [stop for stop in self.all if not stop.resumed and stop.retry_at <= now]

    def seconds_until_due(self) -> float:
        """Return the seconds until a stop is due, at least 0.01; infinite if none is waiting."""
        now = time.monotonic()
        return min(
            (max(0.01, stop.retry_at - now) for stop in self.all if not stop.resumed),
            default=float("inf"),
        )

    def stop(
        self,
        lane: int,
        subject: str,
        reason: str,
        position: Position | None,
        missing: Missing | None = None,
    ) -> None:
        """Stop a lane, or a resumed lane again."""
        stop = Stop(lane, subject, reason, position, self._next_retry(), missing)
        if lane not in self._by_lane:
            self.changed = True
            _log.error(
                "lane stopped; continuing would lose an event",
                stream=self._stream,
                lane=lane,
                subject=subject,
                reason=reason,
                command=f"events {stop.verb} {subject}",
                retry_seconds=self._retry_seconds,
            )
        self._by_lane[lane] = stop

    def note_gap(self, arrival: Arrival, position: Position) -> None:
        """Note that numbers are missing before an arrival; the second time, stop its lane.

        The first time, a new consumer may still find the missing events.
        """
        expected = position.number + 1
        if self._gaps_seen_once.get(arrival.subject) != expected:
            self._gaps_seen_once[arrival.subject] = expected
            return
        event = arrival.position
        missing = Missing(
            arrival.subject,
            expected,
            event.number - 1,
            event.generation,
            event_headers.integer(arrival.headers, event_headers.RANK),
        )
        if arrival.lane not in self._by_lane:
            metrics.EVENTS_LOST.labels(arrival.type).inc(event.number - expected)
        self.stop(arrival.lane, arrival.subject, _describe(missing), position, missing)

    def add_reason(self, stop: Stop, why: str) -> None:
        """Add to the reason of a stopped lane why its gap cannot be filled."""
        current = self._by_lane.get(stop.lane)
        if current and stop.missing and current.missing == stop.missing:
            reason = f"{_describe(stop.missing)}: {why}"
            if current.reason != reason:
                _log.error(
                    "lane remains stopped; the producer did not send the missing events",
                    stream=self._stream,
                    lane=current.lane,
                    reason=reason,
                )
                self.changed = True
            self._by_lane[stop.lane] = replace(current, reason=reason)

    def narrow_gap(self, stop: Stop, position: Position) -> Stop:
        """Keep a lane stopped for the rest of its gap, above the position; return the new stop."""
        assert stop.missing
        missing = replace(stop.missing, first=position.number + 1)
        narrowed = replace(
            stop, reason=_describe(missing), position=position, missing=missing, resumed=False
        )
        self._by_lane[stop.lane] = narrowed
        self.changed = True
        return narrowed

    def postpone(self, stop: Stop) -> None:
        """Check a stop again after the retry interval."""
        current = self._by_lane.get(stop.lane)
        if current:
            self._by_lane[stop.lane] = replace(current, retry_at=self._next_retry())

    def resume(self, stop: Stop) -> None:
        """Let a lane be read again, unless it was stopped elsewhere in the meantime."""
        current = self._by_lane.get(stop.lane)
        if current and (current.subject, current.position) == (stop.subject, stop.position):
            self._by_lane[stop.lane] = replace(current, resumed=True)

    def resume_all(self) -> None:
        """Let all stopped lanes be read again; those that still cannot continue stop again."""
        self._by_lane = {lane: replace(stop, resumed=True) for lane, stop in self._by_lane.items()}

    def note_processed(self, arrivals: Iterable[Arrival]) -> None:
        """Forget the gaps before events that took effect, and the stops of their subjects."""
        if not (self._gaps_seen_once or self._by_lane):
            return
        for arrival in arrivals:
            self._gaps_seen_once.pop(arrival.subject, None)
            stop = self._by_lane.get(arrival.lane)
            if stop and stop.subject == arrival.subject:
                del self._by_lane[arrival.lane]
                self.changed = True
                _log.info("lane resumed", stream=self._stream, lane=arrival.lane)

    def forget_outdated(self, stored: Mapping[str, Position], lanes: Collection[int]) -> None:
        """Forget stops and gaps whose stored position has moved or whose lane is not in `lanes`."""
        self._by_lane = {
            lane: stop
            for lane, stop in self._by_lane.items()
            if lane in lanes and stored.get(stop.subject) == stop.position
        }
        self._gaps_seen_once = {
            subject: number
            for subject, number in self._gaps_seen_once.items()
            if lane_of_subject(subject) in lanes
            and subject in stored
            and stored[subject].number + 1 == number
        }

    def _next_retry(self) -> float:
        """Return the monotonic time of the next check."""
        return time.monotonic() + self._retry_seconds


def _describe(missing: Missing) -> str:
    """Return the reason of a lane that is stopped by a gap."""
    count = missing.last - missing.first + 1
    if count == 1:
        return f"1 event is missing: number {missing.first}"
    return f"{count} events are missing: numbers {missing.first} to {missing.last}"
