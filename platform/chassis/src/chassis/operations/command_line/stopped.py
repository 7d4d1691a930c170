"""`events skip` and `events start-over`: the verbs that let a stopped lane continue."""

from sqlalchemy.exc import IntegrityError

from chassis.events.consumer.position import Position, PositionMoved
from chassis.events.wire.contracts import type_of_subject
from chassis.exit_codes import FAILED
from chassis.operations.command_line.operator import Operator, WrongUsage
from chassis.operations.command_line.table import Row, counted
from chassis.operations.command_line.types import find_types
from chassis.operations.events import EventRows, event_rows
from chassis.operations.lanes import Move, move_positions, plan_skip, plan_start_over

__all__ = ["skip", "start_over"]


async def skip(operator: Operator) -> int:
    """Continue past missing events of one subject; return the exit code."""
    rows = await operator.database.read(lambda tx: event_rows(tx.session))
    subject, to = operator.arguments.subject, operator.arguments.to
    stream, before = _position(rows, subject)
    if before is None:
        raise WrongUsage(f"{subject} has no position; `events start-over` creates one")
    async with operator.broker() as client:
        move = await plan_skip(client, stream, subject, before, to)
    return await _move(
        operator,
        f"skip {counted(move.skipped, 'event')} of {subject}, "
        f"of which the stream holds {move.held}",
        [move],
    )


async def start_over(operator: Operator) -> int:
    """Continue with the events of a producer whose numbers started over; return the exit code."""
    rows = await operator.database.read(lambda tx: event_rows(tx.session))
    name, from_number = operator.arguments.subject, operator.arguments.from_number
    if name.rpartition(".")[2].isdigit():
        subjects = [name]
    else:
        types = find_types(operator, rows, name)
        subjects = [s.subject for s in rows.stopped if type_of_subject(s.subject) in types]
    moves = []
    async with operator.broker() as client:
        for subject in subjects:
            stream, before = _position(rows, subject)
            moves.append(await plan_start_over(client, stream, subject, before, from_number))
    return await _move(operator, f"start over {counted(len(moves), 'subject')}", moves)


def _position(rows: EventRows, subject: str) -> tuple[str, Position | None]:
    """Return the stream and the position of a subject; the position is None if it was lost.

    Raises:
        WrongUsage: the service does not read the subject.
    """
    for stream, positions in rows.positions.items():
        if subject in positions:
            return stream, positions[subject]
    for stop in rows.stopped:
        if stop.subject == subject:
            return stop.stream, None
    raise WrongUsage(
        f"the service does not read the subject {subject}; `events lag --all` lists those it reads"
    )


async def _move(operator: Operator, what: str, moves: list[Move]) -> int:
    """Move positions as planned, if the operator agrees; return the exit code."""
    plan: list[Row] = [
        {
            "subject": move.subject,
            "position": max(0, move.before.number) if move.before else None,
            "to": move.after.number,
            "skipped": move.skipped,
            "held": move.held,
            "next": move.next,
            "events": ", ".join(move.ids) + (", …" if move.held > len(move.ids) else ""),
        }
        for move in moves
    ]
    try:
        return await operator.carry_out(
            what,
            plan,
            lambda: operator.database.transaction(lambda tx: move_positions(tx.session, moves)),
            noun="position",
        )
    except (PositionMoved, IntegrityError):
        operator.say("a member has moved a position; nothing was changed, run the command again")
        return FAILED
