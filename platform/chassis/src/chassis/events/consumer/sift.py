"""Sorts what has arrived by its numbers: the next ones, those that were seen, those in doubt."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.judge import Verdict, judge
from chassis.events.consumer.positions import Position

__all__ = ["Doubt", "Sifted", "sift"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """An event that is not the next one after `position`, and was not seen either."""

    arrival: Arrival
    position: Position
    verdict: Verdict


@dataclass(slots=True)
class Sifted:
    """Events in the order in which they arrived; at most one doubt for each lane."""

    next: list[Arrival] = field(default_factory=list)
    seen: list[Arrival] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)


def sift(arrivals: Iterable[Arrival], at: Mapping[str, Position]) -> Sifted:
    """Judge each event by its number and the position of its subject.

    A lane with a doubt goes no further: what arrives behind it is left out.
    """
    sifted = Sifted()
    ahead: dict[str, Position] = {}
    doubtful: set[int] = set()
    for arrival in arrivals:
        if arrival.lane in doubtful:
            continue
        position = ahead.get(arrival.subject) or at[arrival.subject]
        verdict = judge(arrival.position, position)
        if verdict.kind == "next":
            _inherit(arrival, position)
            ahead[arrival.subject] = arrival.position
            sifted.next.append(arrival)
        elif verdict.kind == "seen":
            sifted.seen.append(arrival)
        else:
            doubtful.add(arrival.lane)
            sifted.doubts.append(Doubt(arrival, position, verdict))
    return sifted


def _inherit(arrival: Arrival, position: Position) -> None:
    """An event that no relay has sent says nothing of the counters: they stay as they are."""
    if not arrival.position.generation:
        arrival.position = replace(
            arrival.position, generation=position.generation, lineage=position.lineage
        )
