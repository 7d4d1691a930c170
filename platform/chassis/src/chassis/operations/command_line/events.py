"""`python -m <service> events …`: what the service consumes, and what delays it."""

import nats.errors
from nats.aio.client import Client

from chassis.events.consumer.backlog import last_events
from chassis.events.consumer.position import Position
from chassis.events.jetstream.api import JetStreamError
from chassis.events.membership.members_stream import running_members
from chassis.events.wire.contracts import type_of_subject
from chassis.exit_codes import FAILED, NOTHING, OK, UNAVAILABLE
from chassis.operations.command_line.arguments import Verbs
from chassis.operations.command_line.operator import Operator, Unreachable, WrongUsage
from chassis.operations.command_line.shadow import add_shadow_verbs
from chassis.operations.command_line.stopped import skip, start_over
from chassis.operations.command_line.table import Row, moment
from chassis.operations.command_line.types import find_types
from chassis.operations.events import (
    EventRows,
    SubjectLag,
    TypeStatus,
    event_rows,
    pause_types,
    resume_types,
    subject_lags,
    type_statuses,
)
from chassis.operations.retired_types import bury_tasks_of, forget_positions_of, retired_type

__all__ = ["ABOUT", "add_verbs"]

ABOUT = "events that the service consumes"


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs status, lag, pause, resume, skip, start-over, retire, record and shadow."""
    verbs.add("status", _status, "show each type: its lag, and what delays it")
    lag = verbs.add("lag", _lag, "show each subject that is behind: position, and stream's last")
    lag.add_argument("type", nargs="?", metavar="TYPE", help="only subjects of this type")
    lag.add_argument("--all", action="store_true", help="include subjects that are not behind")
    pausing = verbs.add("pause", _pause, "stop consuming events of a type", changes=True)
    resuming = verbs.add("resume", _resume, "continue a paused type", changes=True)
    for parser in (pausing, resuming):
        parser.add_argument("type", metavar="TYPE", help="full name, or its last part, or `all`")

    skipping = verbs.add("skip", skip, "continue past missing events", changes=True)
    skipping.add_argument("subject", metavar="SUBJECT", help="as `events status` shows it")
    skipping.add_argument(
        "--to",
        type=int,
        metavar="NUMBER",
        help="the last number to skip (default: the last that is missing)",
    )
    about = "continue with the first event of a producer whose numbers started over"
    beginning = verbs.add("start-over", start_over, about, changes=True)
    beginning.add_argument(
        "subject", metavar="SUBJECT|TYPE", help="one subject, or all stopped ones of a type"
    )
    beginning.add_argument(
        "--from",
        dest="from_number",
        type=int,
        metavar="NUMBER",
        help="number of the next event",
    )

    about = "remove what is left of a type that no version handles any more"
    retiring = verbs.add("retire", _retire, about, changes=True)
    retiring.add_argument("type", metavar="TYPE", help="full name, or its last part")

    add_shadow_verbs(verbs)


async def _status(operator: Operator) -> int:
    """Print lag, tasks, dead letters and stopped lanes of each consumed type."""
    rows, last = await _read(operator)
    statuses = type_statuses(
        rows, subject_lags(rows, last), operator.handled_types, operator.foreign_streams
    )
    operator.show([_status_row(operator, status) for status in statuses])
    if not statuses:
        operator.say(f"{operator.service.name} consumes no events")
    return OK if statuses else NOTHING


async def _lag(operator: Operator) -> int:
    """Print the subjects that are behind or stopped."""
    rows, last = await _read(operator)
    lags = subject_lags(rows, last)
    if operator.arguments.type:
        types = find_types(operator, rows, operator.arguments.type)
        lags = [lag for lag in lags if type_of_subject(lag.subject) in types]
    if not operator.arguments.all:
        lags = [lag for lag in lags if lag.lag != 0 or lag.stopped]
    operator.show([_lag_row(operator, lag) for lag in lags])
    if None in last.values():
        return UNAVAILABLE
    if not lags:
        operator.say("no subject is behind, and no lane is stopped")
    return OK if lags else NOTHING


async def _read(operator: Operator) -> tuple[EventRows, dict[str, dict[str, Position] | None]]:
    """Return the database's rows, and the last events by stream; None for an unknown stream."""
    rows = await operator.database.read(lambda tx: event_rows(tx.session))
    last: dict[str, dict[str, Position] | None] = dict.fromkeys(rows.positions)
    try:
        async with operator.broker() as client:
            for stream, positions in rows.positions.items():
                last[stream] = await _last_events(operator, client, stream, list(positions))
    except Unreachable as error:
        operator.say(f"the lag is unknown: {error}")
    return rows, last


async def _last_events(
    operator: Operator, client: Client, stream: str, subjects: list[str]
) -> dict[str, Position] | None:
    """Return the last event of each subject; None, and say so, if the stream cannot be read."""
    try:
        return await last_events(client, stream, subjects)
    except (JetStreamError, nats.errors.NoRespondersError) as error:
        operator.say(f"the lag of stream {stream} is unknown: {error}")
        return None


def _status_row(operator: Operator, status: TypeStatus) -> Row:
    """Return the status of a type as a row."""
    paused = status.paused
    return {
        "stream": status.stream,
        "type": status.type,
        "lag": status.lag,
        "tasks": status.tasks,
        "dead_letters": status.dead_letters,
        "stopped": [
            {
                "subject": stop.subject,
                "reason": f"the lane is stopped since {moment(stop.stopped_at)}: {stop.reason}",
                "help": f"{operator.command} events {stop.verb} {stop.subject}",
            }
            for stop in status.stopped
        ],
        "paused": f"by {paused.paused_by} at {moment(paused.paused_at)}" if paused else None,
        "handled": status.type in operator.handled_types,
    }


def _lag_row(operator: Operator, lag: SubjectLag) -> Row:
    """Return the lag of a subject as a row."""
    stop = lag.stopped
    state = "paused" if lag.paused else ""
    if stop is not None:
        state = f"stopped: {stop.reason} -> {operator.command} events {stop.verb} {stop.subject}"
    return {
        "stream": lag.stream,
        "subject": lag.subject,
        "position": lag.position,
        "last": lag.last,
        "lag": lag.lag,
        "state": state,
    }


async def _pause(operator: Operator) -> int:
    """Pause types if the operator confirms."""
    rows = await operator.database.read(lambda tx: event_rows(tx.session))
    named = find_types(operator, rows, operator.arguments.type)
    types = [type for type in named if type not in rows.paused]
    return await operator.carry_out(
        f"pause {_name_or_count(types)}: other types continue, those of the same keys too",
        [{"type": type, "tasks": rows.tasks.get(type, 0)} for type in types],
        lambda: operator.database.transaction(
            lambda tx: pause_types(tx.session, types, operator.who)
        ),
        noun="type",
    )


async def _resume(operator: Operator) -> int:
    """Resume types if the operator confirms."""
    rows = await operator.database.read(lambda tx: event_rows(tx.session))
    named = find_types(operator, rows, operator.arguments.type)
    types = [type for type in named if type in rows.paused]
    return await operator.carry_out(
        f"resume {_name_or_count(types)}",
        [
            {
                "type": type,
                "paused": moment(rows.paused[type].paused_at),
                "by": rows.paused[type].paused_by,
            }
            for type in types
        ],
        lambda: operator.database.transaction(lambda tx: resume_types(tx.session, types)),
        noun="type",
    )


def _name_or_count(types: list[str]) -> str:
    return types[0] if len(types) == 1 else f"{len(types)} types"


async def _retire(operator: Operator) -> int:
    """Remove what is stored for a type that no running version handles any more."""
    rows = await operator.database.read(lambda tx: event_rows(tx.session))
    types = find_types(operator, rows, operator.arguments.type)
    if len(types) != 1:
        raise WrongUsage("name one type to retire")
    (type,) = types
    if type in operator.handled_types:
        raise WrongUsage(f"{type} is handled by this version: it is in use")
    async with operator.broker() as client:
        running = await running_members(client, operator.service.name)
    handling = [m.version for m in running if m.types is None or type in m.types]
    if handling:
        versions = ", ".join(sorted(set(handling)))
        operator.say(f"running members of version {versions} may handle {type}; stop them first")
        return FAILED
    left = await operator.database.read(lambda tx: retired_type(tx.session, type))
    plan: list[Row] = [{"type": type, "positions": left.positions, "tasks": left.tasks}]
    return await operator.carry_out(
        f"retire {type}: tasks that become dead letters: {left.tasks}, positions that are "
        f"deleted: {left.positions}; a version that handles it again starts as with a new type",
        plan if left.positions or left.tasks else [],
        lambda: _remove_rows(operator, type),
    )


async def _remove_rows(operator: Operator, type: str) -> int:
    """Make dead letters of a type's tasks, and delete its positions."""
    changed = 0
    while buried := await operator.database.transaction(lambda tx: bury_tasks_of(tx.session, type)):
        changed += buried
    return changed + await operator.database.transaction(
        lambda tx: forget_positions_of(tx.session, type)
    )
