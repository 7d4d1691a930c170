"""The lanes of a stream that are stopped, and the gaps in numbers that may stop one."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import structlog

from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.positions import Position
from chassis.events.wire import transport
from chassis.events.wire.contracts import lane_of_subject
from chassis.events.wire.resending import Missing
from chassis.telemetry import metrics

__all__ = ["Stop", "Stops"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a lane is stopped, where it stands, and when it is looked at again (monotonic seconds).

    `missing` are the numbers it waits for, if that is why. `found`: they are there, and it is read.
    """

    lane: int
    subject: str
    reason: str
    position: Position | None
    again_at: float
    missing: Missing | None = None
    found: bool = False

    @property
    def verb(self) -> str:
        """What an operator does about it: `events <verb> <subject>`."""
        return "skip" if self.missing else "begin-anew"


class Stops:
    """A lane is stopped where going on would lose an event without a word.

    `changed` says that lanes have stopped or gone on since it was last set to False.
    """

    def __init__(self, stream: str, retry_seconds: float) -> None:
        self._stream = stream
        self._retry_seconds = retry_seconds
        self._by_lane: dict[int, Stop] = {}
        self._gaps: dict[str, int] = {}
        self.changed = False

    @property
    def all(self) -> Collection[Stop]:
        """A stop for each stopped lane."""
        return self._by_lane.values()

    @property
    def resting(self) -> set[int]:
        """Lanes that are not to be read."""
        return {stop.lane for stop in self.all if not stop.found}

    @property
    def due(self) -> list[Stop]:
        """Stops to be looked at: may their lanes go on?"""
        now = time.monotonic()
        return [stop for stop in self.all if not stop.found and stop.again_at <= now]

    def stop(
        self,
        lane: int,
        subject: str,
        reason: str,
        position: Position | None,
        missing: Missing | None = None,
    ) -> None:
        """Stop a lane, or let one that is stopped already rest again."""
        stop = Stop(lane, subject, reason, position, self._next_look(), missing)
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

    def gap(self, arrival: Arrival, position: Position) -> None:
        """Numbers are missing below what arrived: seen twice, that stops the lane."""
        expected = position.number + 1
        if self._gaps.get(arrival.subject) != expected:
            self._gaps[arrival.subject] = expected  # a new consumer may find it
            return
        here = arrival.position
        missing = Missing(
            arrival.subject,
            expected,
            here.number - 1,
            here.generation,
            transport.integer(arrival.headers, transport.RANK),
        )
        if arrival.lane not in self._by_lane:
            metrics.EVENTS_LOST.labels(arrival.type).inc(here.number - expected)
        self.stop(arrival.lane, arrival.subject, _said(missing), position, missing)

    def explain(self, stop: Stop, why: str) -> None:
        """Say more of why a lane is stopped."""
        now = self._by_lane.get(stop.lane)
        if now and stop.missing and now.missing == stop.missing:
            reason = f"{_said(stop.missing)}: {why}"
            if now.reason != reason:
                _log.error(
                    "lane remains stopped; the producer did not send the missing events",
                    stream=self._stream,
                    lane=now.lane,
                    reason=reason,
                )
                self.changed = True
            self._by_lane[stop.lane] = replace(now, reason=reason)

    def narrow(self, stop: Stop, position: Position) -> Stop:
        """Some of what a lane misses has been taken: it stays stopped for the rest."""
        assert stop.missing
        missing = replace(stop.missing, first=position.number + 1)
        narrowed = replace(
            stop, reason=_said(missing), position=position, missing=missing, found=False
        )
        self._by_lane[stop.lane] = narrowed
        self.changed = True
        return narrowed

    def rest(self, stop: Stop) -> None:
        """What it waits for is not there yet."""
        now = self._by_lane.get(stop.lane)
        if now:
            self._by_lane[stop.lane] = replace(now, again_at=self._next_look())

    def go_on(self, stop: Stop) -> None:
        """What it waited for is there: its lane is to be read again."""
        now = self._by_lane.get(stop.lane)
        if now and (now.subject, now.position) == (stop.subject, stop.position):
            self._by_lane[stop.lane] = replace(now, found=True)

    def read_again(self) -> None:
        """Let every stopped lane be read again: an operator may have changed what stops it."""
        self._by_lane = {lane: replace(stop, found=True) for lane, stop in self._by_lane.items()}

    def taken(self, arrival: Arrival) -> None:
        """An event has taken effect: what was missing before it is no longer."""
        self._gaps.pop(arrival.subject, None)
        stop = self._by_lane.get(arrival.lane)
        if stop and stop.subject == arrival.subject:
            del self._by_lane[arrival.lane]
            self.changed = True
            _log.info("lane resumed", stream=self._stream, lane=arrival.lane)

    def review(self, known: Mapping[str, Position], lanes: Collection[int]) -> None:
        """Forget what no longer holds: positions that have moved, lanes that are no longer ours."""
        self._by_lane = {
            lane: stop
            for lane, stop in self._by_lane.items()
            if lane in lanes and known.get(stop.subject) == stop.position
        }
        self._gaps = {
            subject: number
            for subject, number in self._gaps.items()
            if lane_of_subject(subject) in lanes
            and subject in known
            and known[subject].number + 1 == number
        }

    def _next_look(self) -> float:
        return time.monotonic() + self._retry_seconds


def _said(missing: Missing) -> str:
    count = missing.last - missing.first + 1
    return f"{count} events are missing from number {missing.first} on"
