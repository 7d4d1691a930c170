"""What an operator does about a stopped lane: its position is moved, past a gap or to another life.

A plan is made first, from what the stream holds; moving is a compare-and-set, refused when a member
has taken events meanwhile. Members that run notice: their next commit is refused, and they read the
positions again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nats.aio.client import Client
from sqlalchemy.orm import Session

from chassis.events.consumer import position_rows
from chassis.events.consumer.position import Position, position_of
from chassis.events.consumer.start import next_of_subject
from chassis.events.jetstream.stored_messages import read_from
from chassis.events.jetstream.streams import stream_state

__all__ = ["CannotMove", "Move", "move_positions", "plan_begin_anew", "plan_skip"]

_IDS_SHOWN = 5


class CannotMove(Exception):
    """There is nothing to be done about this subject in this way; the text says why."""


@dataclass(frozen=True, slots=True)
class Move:
    """Where a position is, and where it goes.

    `skipped` events will never be taken by it: numbers that are in no stream, and `held` events
    that are, of which `ids` names the first few. `next` is the number that is taken next, as far
    as the stream holds one.
    """

    stream: str
    subject: str
    before: Position | None
    after: Position
    skipped: int
    held: int
    ids: tuple[str, ...]
    next: int | None


def move_positions(session: Session, moves: Sequence[Move]) -> int:
    """Move positions as planned, all of them or none; how many.

    Raises:
        PositionMoved: one of them is no longer where it was: make a new plan.
        sqlalchemy.exc.IntegrityError: the same of one that had no row.
    """
    known = [(move.subject, move.before, move.after) for move in moves if move.before is not None]
    if known:
        position_rows.move(session, known)
    for move in moves:
        if move.before is None:
            position_rows.insert_new(session, move.stream, {move.subject: move.after})
    return len(moves)


async def plan_skip(
    client: Client, stream: str, subject: str, before: Position, to: int | None = None
) -> Move:
    """Go on after number `to`; by default with the first event that the stream holds above.

    Raises:
        CannotMove: nothing is missing, or the position is there already.
    """
    above = await _held_above(client, stream, subject, before)
    first = above[0].number if above else None
    at = max(0, before.number)
    if to is None:
        if first is None:
            raise CannotMove(f"{subject}: the stream holds nothing above number {at}")
        if first == at + 1:
            raise CannotMove(
                f"{subject}: nothing is missing, number {first} is next; --to {first} skips it"
            )
        to = first - 1
    if to <= at:
        raise CannotMove(f"{subject}: number {at} is taken already; begin-anew goes back")
    passed = [event for event in above if event.number <= to]
    last = passed[-1] if passed and passed[-1].number == to else None
    after = last or Position(to, before.generation, 0, "", before.lineage)
    rest = [event.number for event in above if event.number > to]
    return Move(
        stream=stream,
        subject=subject,
        before=before,
        after=after,
        skipped=to - at,
        held=len(passed),
        ids=tuple(event.event_id for event in passed[:_IDS_SHOWN]),
        next=rest[0] if rest else None,
    )


async def plan_begin_anew(
    client: Client,
    stream: str,
    subject: str,
    before: Position | None,
    from_number: int | None = None,
) -> Move:
    """Go on with the first event of the life that the producer has begun, or with a number.

    That first event is the first one held that does not count on from what was taken; if producer
    and stream were put back to older copies, the one under the number that was taken last.

    Raises:
        CannotMove: the producer did not begin anew, or the stream does not hold that number.
    """
    if from_number is None and before is None:
        raise CannotMove(f"{subject} has no position: say by --from which number is next")
    first: Position | None = None
    async for stored in read_from(client, stream, 1, subject):
        event = position_of(stored.headers, stored.sequence)
        if event.number and _begins(event, before, from_number):
            first = event  # of several with this number the last: it is of the newest life
            if from_number is None:
                break
    if first is None:
        if from_number is not None:
            raise CannotMove(f"{subject}: the stream does not hold number {from_number}")
        raise CannotMove(f"{subject}: its producer did not begin anew; --from says where to begin")
    return Move(
        stream=stream,
        subject=subject,
        before=before,
        after=_beginning(first, before),
        skipped=0,
        held=0,
        ids=(),
        next=first.number,
    )


def _begins(event: Position, before: Position | None, from_number: int | None) -> bool:
    if from_number is not None or before is None:
        return event.number == from_number
    if not before.covers(event.generation):
        return True
    same = (event.number, event.generation) == (before.number, before.generation)
    return same and before.event_id not in ("", event.event_id)


def _beginning(first: Position, before: Position | None) -> Position:
    """The position before an event with which a subject begins anew.

    Of the lives before it the stream may still hold events, with the same numbers: they are named,
    so that those up to this place count as seen.
    """
    older = (before.generation, *before.lineage) if before else ()
    lineage = dict.fromkeys((*first.lineage, *older))
    lineage.pop(first.generation, None)
    lineage.pop("", None)
    return Position(first.number - 1, first.generation, first.sequence - 1, "", tuple(lineage))


async def _held_above(
    client: Client, stream: str, subject: str, before: Position
) -> list[Position]:
    """The events of a subject above a position, in the order of the stream."""
    state = await stream_state(client, stream)
    following = await next_of_subject(client, stream, subject, before, state.last_sequence)
    if following is None:
        return []
    above = []
    async for stored in read_from(client, stream, following.sequence, subject):
        event = position_of(stored.headers, stored.sequence)
        if event.number > max(0, before.number):
            above.append(event)
    return above
