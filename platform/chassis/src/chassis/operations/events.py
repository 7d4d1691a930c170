"""What a service takes in, as an operator sees it: how far each type is, and what holds it up."""

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
from chassis.events.wire.contracts import ContractError, source_service, stream_of

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
    """What the database says: positions by stream and subject, and per type what waits."""

    positions: Mapping[str, Mapping[str, Position]]
    stopped: Collection[StoppedLane]
    paused: Mapping[str, Pause]
    tasks: Mapping[str, int]
    dead_letters: Mapping[str, int]

    @property
    def types(self) -> set[str]:
        """Every type that has a position, a task or a dead letter."""
        subjects = (subject for known in self.positions.values() for subject in known)
        return {_type(subject) for subject in subjects} | {*self.tasks, *self.dead_letters}


@dataclass(frozen=True, slots=True)
class SubjectLag:
    """How far the events of one subject are taken.

    `last` is the number of the stream's last event, `lag` how many are yet to be taken: None if
    the stream cannot tell.
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
    """What holds up the events of one type, over all its lanes."""

    stream: str
    type: str
    lag: int | None
    stopped: tuple[StoppedLane, ...]
    paused: Pause | None
    tasks: int
    dead_letters: int


def event_rows(session: Session) -> EventRows:
    """Read what the database says of the events that the service takes in."""
    streams = session.execute(select(positions.c.stream).distinct()).scalars()
    return EventRows(
        positions={stream: load(session, stream) for stream in sorted(streams)},
        stopped=stopped_lanes.load(session),
        paused={paused.type: paused for paused in pauses.load(session)},
        tasks=_counted(session, tasks),
        dead_letters=_counted(session, dead_letters),
    )


def subject_lags(
    rows: EventRows, held: Mapping[str, Mapping[str, Position] | None]
) -> list[SubjectLag]:
    """How far each subject is. `held` are the last events by stream, None where unknown."""
    lags = []
    for stream, known in rows.positions.items():
        last = held.get(stream)
        behind = backlogs_above(known, last) if last is not None else {}
        for subject, position in known.items():
            lag: int | None = None
            if last is not None:
                subject_behind = behind.get(subject)
                lag = subject_behind.events if subject_behind else 0
                if subject_behind and not subject_behind.certain:
                    lag = None
            ends = last.get(subject) if last is not None else None
            lags.append(
                SubjectLag(
                    stream,
                    subject,
                    max(0, position.number),
                    ends.number if ends else None,
                    lag,
                    _stop_of(rows, stream, subject),
                    _type(subject) in rows.paused,
                )
            )
    return sorted(lags, key=lambda each: (each.stream, _type(each.subject), _lane(each.subject)))


def type_statuses(
    rows: EventRows,
    lags: Collection[SubjectLag],
    handled: Collection[str],
    foreign: Mapping[str, str] = MappingProxyType({}),
) -> list[TypeStatus]:
    """The same per type: those that are `handled`, and all others that left something behind.

    `foreign` has the streams of types that come from outside the platform: their lag is not known
    by type.
    """
    statuses = []
    for type in sorted({*handled, *rows.types}):
        of_type = [lag for lag in lags if _type(lag.subject) == type]
        known = [lag.lag for lag in of_type]
        statuses.append(
            TypeStatus(
                stream=foreign.get(type) or _stream(type),
                type=type,
                lag=None if type in foreign or None in known else sum(lag or 0 for lag in known),
                stopped=tuple(stop for stop in rows.stopped if _type(stop.subject) == type),
                paused=rows.paused.get(type),
                tasks=rows.tasks.get(type, 0),
                dead_letters=rows.dead_letters.get(type, 0),
            )
        )
    return statuses


def pause_types(session: Session, types: Collection[str], by: str) -> int:
    """Take no more events of these types, in any member, until they are resumed; how many of them
    went on until now. Their tasks wait too. Other types go on, those of the same keys as well."""
    return pauses.pause(session, types, by)


def resume_types(session: Session, types: Collection[str]) -> int:
    """Let paused types go on; how many of them were paused."""
    return pauses.resume(session, types)


def _counted(session: Session, table: Table) -> dict[str, int]:
    statement = select(table.c.type, func.count()).group_by(table.c.type)
    return {row[0]: row[1] for row in session.execute(statement)}


def _stop_of(rows: EventRows, stream: str, subject: str) -> StoppedLane | None:
    """The stop that holds a subject's lane up; it may stand at another type's subject."""
    found = (s for s in rows.stopped if s.stream == stream and s.lane == _lane(subject))
    return next(found, None)


def _stream(type: str) -> str:
    """The stream of a type by its name; empty if no service of the platform publishes it."""
    try:
        return stream_of(source_service(type))
    except ContractError:
        return ""


def _type(subject: str) -> str:
    return subject.rpartition(".")[0]


def _lane(subject: str) -> int:
    return int(subject.rpartition(".")[2])
