"""What an event is by its number, beside the position of its subject."""

from dataclasses import dataclass
from typing import Literal

from chassis.events.consumer.positions import ANY, Position

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The next one, one that was seen, one above missing numbers, or one of another count.

    A `forked` one cannot be compared, and dropping it might lose it: `reason` says why.
    """

    kind: Literal["next", "seen", "ahead", "forked"]
    reason: str = ""


_NEXT, _SEEN, _AHEAD = Verdict("next"), Verdict("seen"), Verdict("ahead")


def judge(here: Position, position: Position) -> Verdict:
    """Judge the event at `here`, `position` being that of what was taken last."""
    below = not position.event_id and here.sequence <= position.sequence
    if below and here.generation in position.lineage:
        return _SEEN  # an operator let the subject begin anew above what an older life has left
    if here.number == position.number + 1 or position.number == ANY:
        counts_on = not here.generation or here.goes_on(position)
        return _NEXT if counts_on else _other_life(here)
    if here.number > position.number:
        return _AHEAD
    if not position.knows(here.generation):
        return _other_life(here)
    same = (here.number, here.generation) == (position.number, position.generation)
    if same and position.event_id and here.event_id != position.event_id:
        return Verdict(
            "forked",
            f"its producer and its stream were put back: number {here.number} is another event",
        )
    return _SEEN


def _other_life(here: Position) -> Verdict:
    return Verdict(
        "forked",
        f"its producer began anew: number {here.number} is of generation {here.generation}, "
        "which does not count on from what was taken",
    )
