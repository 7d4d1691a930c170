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


def judge(*, event: Position, stored: Position) -> Verdict:
    """Judge an event by its own position in the stream and the stored position of its subject.

    `stored` is the position of the last event of the subject that was processed, or one that an
    operator has set; an operator's has no event id.
    """
    set_by_operator = not stored.event_id and event.sequence <= stored.sequence
    if set_by_operator and event.generation in stored.lineage:
        # An operator moved the position past the events of this earlier generation.
        return _SEEN
    if event.number == stored.number + 1 or stored.number == ANY:
        continues = not event.generation or event.continues(stored)
        return _NEXT if continues else _other_generation(event)
    if event.number > stored.number:
        return _GAP
    if not stored.covers(event.generation):
        return _other_generation(event)
    same = (event.number, event.generation) == (stored.number, stored.generation)
    if same and stored.event_id and event.event_id != stored.event_id:
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
