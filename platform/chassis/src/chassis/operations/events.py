"""Consumed events for an operator: how far each type is, and what delays it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import Table, func, select
from sqlalchemy.orm import Session

from chassis.database.tables import dead_letters, positions, tasks
from chassis.events.consumer import stopped_lane_rows as stopped_lanes
from chassis.events.consumer.backlog import backlogs_above
from chassis.events.consumer.position import Position
from chassis.events.consumer.position_rows import load
from chassis.events.consumer.stopped_lane_rows import StoppedLane
from chassis.events.handlers import pauses
from chassis.events.handlers.pauses import Pause
from chassis.events.wire.contracts import (
    ContractError,
    lane_of_subject,
    source_service,
    stream_of,
    type_of_subject,
)

__all__ = [
    "EventRows",
    "SubjectLag",
    "TypeStatus",
    "event_rows",
    "pause_types",
    "resume_types",
    "subject_lags",
    "type_statuses",
]


@dataclass(frozen=True, slots=True)
class EventRows:
    """The rows of a service's database about the events that it consumes.

    `positions` are by stream and subject, `tasks` and `dead_letters` are numbers by type.
    """

    positions: Mapping[str, Mapping[str, Position]]
    stopped: Collection[StoppedLane]
    paused: Mapping[str, Pause]
    tasks: Mapping[str, int]
    dead_letters: Mapping[str, int]

    @property
    def types(self) -> set[str]:
        """The types that have a position, a task or a dead letter."""
        subjects = (subject for by_subject in self.positions.values() for subject in by_subject)
        return {*map(type_of_subject, subjects), *self.tasks, *self.dead_letters}


@dataclass(frozen=True, slots=True)
class SubjectLag:
    """The lag of one subject.

    `last` is the number of the stream's last event of the subject, `lag` the number of events
    above the position. Both are None if the stream does not tell.
    """

    stream: str
    subject: str
    position: int
    last: int | None
    lag: int | None
    stopped: StoppedLane | None
    paused: bool


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """The lag of one type over all its lanes, and what delays it."""

    stream: str
    type: str
    lag: int | None
    stopped: tuple[StoppedLane, ...]
    paused: Pause | None
    tasks: int
    dead_letters: int


def event_rows(session: Session) -> EventRows:
    """Read the rows about the events that the service consumes."""
    streams = session.execute(select(positions.c.stream).distinct()).scalars()
    return EventRows(
        positions={stream: load(session, stream) for stream in sorted(streams)},
        stopped=stopped_lanes.load(session),
        paused={paused.type: paused for paused in pauses.load(session)},
        tasks=_count_by_type(session, tasks),
        dead_letters=_count_by_type(session, dead_letters),
    )


def subject_lags(
    rows: EventRows, last_events: Mapping[str, Mapping[str, Position] | None]
) -> list[SubjectLag]:
    """Return the lag of each subject. `last_events` are by stream and subject; a stream whose last
    events are unknown has None."""
    lags = []
    for stream, by_subject in rows.positions.items():
        last = last_events.get(stream)
        behind = backlogs_above(by_subject, last) if last is not None else {}
        for subject, position in by_subject.items():
            lag: int | None = None
            if last is not None:
                subject_behind = behind.get(subject)
                lag = subject_behind.events if subject_behind else 0
                if subject_behind and not subject_behind.certain:
                    lag = None
            end = last.get(subject) if last is not None else None
            lags.append(
                SubjectLag(
                    stream,
                    subject,
                    max(0, position.number),
                    end.number if end else None,
                    lag,
                    _stop_of(rows, stream, subject),
                    type_of_subject(subject) in rows.paused,
                )
            )
    return sorted(
        lags,
        key=lambda lag: (lag.stream, type_of_subject(lag.subject), lane_of_subject(lag.subject)),
    )


def type_statuses(
    rows: EventRows,
    lags: Collection[SubjectLag],
    handled: Collection[str],
    foreign: Mapping[str, str] = MappingProxyType({}),
) -> list[TypeStatus]:
    """Return the status of each type that is `handled` or still has rows.

    `foreign` has the streams of types from outside the platform, whose lag is unknown.
    """
    statuses = []
    for type in sorted({*handled, *rows.types}):
        of_type = [lag for lag in lags if type_of_subject(lag.subject) == type]
        events = [lag.lag for lag in of_type]
        statuses.append(
            TypeStatus(
                stream=foreign.get(type) or _stream_of_type(type),
                type=type,
                lag=None if type in foreign or None in events else sum(lag or 0 for lag in events),
                stopped=tuple(
                    stop for stop in rows.stopped if type_of_subject(stop.subject) == type
                ),
                paused=rows.paused.get(type),
                tasks=rows.tasks.get(type, 0),
                dead_letters=rows.dead_letters.get(type, 0),
            )
        )
    return statuses


def pause_types(session: Session, types: Collection[str], by: str) -> int:
    """Pause types in all members until they are resumed; return how many were not paused before.

    Their tasks wait too. Other types continue, those of the same keys too.
    """
    return pauses.pause(session, types, by)


def resume_types(session: Session, types: Collection[str]) -> int:
    """Resume paused types; return how many of them were paused."""
    return pauses.resume(session, types)


def _count_by_type(session: Session, table: Table) -> dict[str, int]:
    statement = select(table.c.type, func.count()).group_by(table.c.type)
    return {row[0]: row[1] for row in session.execute(statement)}


def _stop_of(rows: EventRows, stream: str, subject: str) -> StoppedLane | None:
    """Return the stop of a subject's lane, which may be at a subject of another type."""
    found = (s for s in rows.stopped if s.stream == stream and s.lane == lane_of_subject(subject))
    return next(found, None)


def _stream_of_type(type: str) -> str:
    """Return the stream of a type; empty if no service of the platform publishes the type."""
    try:
        return stream_of(source_service(type))
    except ContractError:
        return ""
