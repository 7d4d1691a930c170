"""Positions of a stopped lane, moved by an operator past a gap or to another generation.

A plan is made from the events in the stream. Moving a position is a compare-and-set, which fails if
a member has moved it in the meantime. Running members notice the move, because their next commit is
refused and they read the positions again.
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

__all__ = ["CannotMove", "Move", "move_positions", "plan_skip", "plan_start_over"]

_IDS_SHOWN = 5


class CannotMove(Exception):
    """The position of this subject cannot be moved in this way; the text says why."""


@dataclass(frozen=True, slots=True)
class Move:
    """A planned move of a position.

    `skipped` is the number of events that will never be handled. The stream has `held` of them,
    and `ids` names up to 5. `next` is the number of the next event in the stream, if it
    has one.
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
    """Move positions as planned, all of them or none; return how many.

    Raises:
        PositionMoved: a position has changed since the plan was made; make a new plan.
        sqlalchemy.exc.IntegrityError: a position that had no row has one now; make a new plan.
    """
    present = [(move.subject, move.before, move.after) for move in moves if move.before is not None]
    if present:
        position_rows.move(session, present)
    for move in moves:
        if move.before is None:
            position_rows.insert_new(session, move.stream, {move.subject: move.after})
    return len(moves)


async def plan_skip(
    client: Client, stream: str, subject: str, before: Position, to: int | None = None
) -> Move:
    """Plan to continue after number `to`, by default with the next event that the stream has.

    Raises:
        CannotMove: no event is missing, or the position is at or above `to`.
    """
    above = await _events_above(client, stream, subject, before)
    first = above[0].number if above else None
    number = max(0, before.number)
    if to is None:
        if first is None:
            raise CannotMove(f"{subject}: the stream holds nothing above number {number}")
        if first == number + 1:
            raise CannotMove(
                f"{subject}: nothing is missing, number {first} is next; --to {first} skips it"
            )
        to = first - 1
    if to <= number:
        raise CannotMove(
            f"{subject}: number {number} is handled already; use start-over to go back"
        )
    passed = [event for event in above if event.number <= to]
    last = passed[-1] if passed and passed[-1].number == to else None
    after = last or Position(to, before.generation, 0, "", before.lineage)
    rest = [event.number for event in above if event.number > to]
    return Move(
        stream=stream,
        subject=subject,
        before=before,
        after=after,
        skipped=to - number,
        held=len(passed),
        ids=tuple(event.event_id for event in passed[:_IDS_SHOWN]),
        next=rest[0] if rest else None,
    )


async def plan_start_over(
    client: Client,
    stream: str,
    subject: str,
    before: Position | None,
    from_number: int | None = None,
) -> Move:
    """Plan to continue with the first event of the producer's new generation, or with a number.

    That first event is the first one in the stream whose generation the position does not know. If
    producer and stream were restored from older copies, it is the event that now has the number of
    the position.

    Raises:
        CannotMove: the producer's numbers did not start over, or the stream lacks that number.
    """
    if from_number is None and before is None:
        raise CannotMove(f"{subject} has no position; give --from NUMBER")
    first: Position | None = None
    async for stored in read_from(client, stream, 1, subject):
        event = position_of(stored.headers, stored.sequence)
        if event.number and _can_begin_with(event, before, from_number):
            # The search continues, since the last event with this number has the newest generation.
            first = event
            if from_number is None:
                break
    if first is None:
        if from_number is not None:
            raise CannotMove(f"{subject}: the stream does not hold number {from_number}")
        raise CannotMove(
            f"{subject}: its producer's numbers did not start over; give the next number by --from"
        )
    return Move(
        stream=stream,
        subject=subject,
        before=before,
        after=_position_before(first, before),
        skipped=0,
        held=0,
        ids=(),
        next=first.number,
    )


def _can_begin_with(event: Position, before: Position | None, from_number: int | None) -> bool:
    """Return whether a subject can start over with this event."""
    if from_number is not None or before is None:
        return event.number == from_number
    if not before.covers(event.generation):
        return True
    same = (event.number, event.generation) == (before.number, before.generation)
    return same and before.event_id not in ("", event.event_id)


def _position_before(first: Position, before: Position | None) -> Position:
    """Return the position before an event with which a subject starts over.

    Its lineage names the earlier generations, because the stream may still hold events of theirs
    with the same numbers, which count as seen up to this place.
    """
    older = (before.generation, *before.lineage) if before else ()
    lineage = dict.fromkeys((*first.lineage, *older))
    lineage.pop(first.generation, None)
    lineage.pop("", None)
    return Position(first.number - 1, first.generation, first.sequence - 1, "", tuple(lineage))


async def _events_above(
    client: Client, stream: str, subject: str, before: Position
) -> list[Position]:
    """Return the events of a subject above a position, in the order of the stream."""
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
