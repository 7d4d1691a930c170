"""`python -m <service> events …`."""

import nats.errors
from nats.aio.client import Client

from chassis.events.behind import last_events
from chassis.events.positions import Position
from chassis.events.streams import JetStreamError
from chassis.exit_codes import NOTHING, OK, UNAVAILABLE
from chassis.operations.command_line.arguments import Verbs
from chassis.operations.command_line.operator import Operator, Unreachable, WrongUsage
from chassis.operations.command_line.table import Row, moment
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

__all__ = ["ABOUT", "add_verbs"]

ABOUT = "events that the service takes in"


def add_verbs(verbs: Verbs) -> None:
    """status, lag, pause, resume."""
    verbs.add("status", _status, "show each type: its lag, and what holds it up")
    lag = verbs.add("lag", _lag, "show each subject that is behind: position and stream's last")
    lag.add_argument("type", nargs="?", metavar="TYPE", help="only of this type")
    lag.add_argument("--all", action="store_true", help="those that are not behind, too")
    pausing = verbs.add("pause", _pause, "take no more events of a type", changes=True)
    resuming = verbs.add("resume", _resume, "let a paused type go on", changes=True)
    for parser in (pausing, resuming):
        parser.add_argument("type", metavar="TYPE", help="full name, or its last part, or `all`")


# --- looking ------------------------------------------------------------------------------------


async def _status(operator: Operator) -> int:
    rows, held = await _look(operator)
    statuses = type_statuses(rows, subject_lags(rows, held), operator.handled_types)
    operator.show([_status_row(operator, status) for status in statuses])
    return OK if statuses else NOTHING


async def _lag(operator: Operator) -> int:
    rows, held = await _look(operator)
    lags = subject_lags(rows, held)
    if operator.arguments.type:
        types = _types(operator, rows, operator.arguments.type)
        lags = [lag for lag in lags if lag.subject.rpartition(".")[0] in types]
    if not operator.arguments.all:
        lags = [lag for lag in lags if lag.lag != 0 or lag.stopped]
    operator.show([_lag_row(operator, lag) for lag in lags])
    if None in held.values():
        return UNAVAILABLE
    return OK if lags else NOTHING


async def _look(operator: Operator) -> tuple[EventRows, dict[str, dict[str, Position] | None]]:
    """What the database says, and where the streams end as far as that can be told."""
    rows = await operator.database.read(lambda tx: event_rows(tx.session))
    held: dict[str, dict[str, Position] | None] = dict.fromkeys(rows.positions)
    try:
        async with operator.broker() as client:
            for stream, known in rows.positions.items():
                held[stream] = await _held(operator, client, stream, list(known))
    except Unreachable as error:
        operator.say(f"the lag is unknown: {error}")
    return rows, held


async def _held(
    operator: Operator, client: Client, stream: str, subjects: list[str]
) -> dict[str, Position] | None:
    try:
        return await last_events(client, stream, subjects)
    except (JetStreamError, nats.errors.NoRespondersError) as error:
        operator.say(f"the lag of stream {stream} is unknown: {error}")
        return None


def _status_row(operator: Operator, status: TypeStatus) -> Row:
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


# --- pausing ------------------------------------------------------------------------------------


async def _pause(operator: Operator) -> int:
    rows = await operator.database.read(lambda tx: event_rows(tx.session))
    asked = _types(operator, rows, operator.arguments.type)
    types = [type for type in asked if type not in rows.paused]
    return await operator.carry_out(
        f"pause {len(types)} types: their events wait, those of other types go on in every key",
        [{"type": type, "tasks": rows.tasks.get(type, 0)} for type in types],
        lambda: operator.database.transaction(
            lambda tx: pause_types(tx.session, types, operator.who)
        ),
    )


async def _resume(operator: Operator) -> int:
    rows = await operator.database.read(lambda tx: event_rows(tx.session))
    asked = _types(operator, rows, operator.arguments.type)
    types = [type for type in asked if type in rows.paused]
    return await operator.carry_out(
        f"resume {len(types)} types",
        [
            {
                "type": type,
                "paused": moment(rows.paused[type].paused_at),
                "by": rows.paused[type].paused_by,
            }
            for type in types
        ],
        lambda: operator.database.transaction(lambda tx: resume_types(tx.session, types)),
    )


def _types(operator: Operator, rows: EventRows, asked: str) -> list[str]:
    """The types that are meant: of those that the service handles, or has handled once."""
    known = sorted({*operator.handled_types, *rows.types, *rows.paused})
    if asked == "all":
        return known
    found = [type for type in known if type == asked or type.endswith(f".{asked}")]
    if len(found) != 1:
        said = "is more than one type" if found else "is no type of this service"
        raise WrongUsage(f"{asked} {said}; there are: {', '.join(found or known) or 'none'}")
    return found
