"""Judging an event by its number and by the position of its subject."""

from dataclasses import dataclass
from typing import Literal

from chassis.events.consumer.position import ANY, Position

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an event is the next one, was seen before, or comes after missing numbers (`gap`).

    The number of a `forked` event cannot be compared with the position, and dropping the event
    could lose it; `reason` says why.
    """

    kind: Literal["next", "seen", "gap", "forked"]
    reason: str = ""


_NEXT, _SEEN, _GAP = Verdict("next"), Verdict("seen"), Verdict("gap")


def judge(event: Position, position: Position) -> Verdict:
    """Judge an event by its own position in the stream and the stored `position` of its subject.

    The stored position is that of the last event of the subject that was processed, or one that an
    operator has set; an operator's has no event id.
    """
    set_by_operator = not position.event_id and event.sequence <= position.sequence
    if set_by_operator and event.generation in position.lineage:
        # An operator moved the position past the events of this earlier generation.
        return _SEEN
    if event.number == position.number + 1 or position.number == ANY:
        continues = not event.generation or event.continues(position)
        return _NEXT if continues else _other_generation(event)
    if event.number > position.number:
        return _GAP
    if not position.covers(event.generation):
        return _other_generation(event)
    same = (event.number, event.generation) == (position.number, position.generation)
    if same and position.event_id and event.event_id != position.event_id:
        return Verdict(
            "forked",
            "the producer and its stream were restored from older copies: "
            f"number {event.number} is another event",
        )
    return _SEEN


def _other_generation(event: Position) -> Verdict:
    """Return the verdict on an event of a generation whose numbers the position cannot judge."""
    return Verdict(
        "forked",
        f"the producer's numbers started over: number {event.number} is of generation "
        f"{event.generation}, which does not continue that of the position",
    )
