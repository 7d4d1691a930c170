"""Sorting events by their numbers: the next ones, those seen before, and those in doubt."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.judge import Verdict, judge
from chassis.events.consumer.position import Position

__all__ = ["Doubt", "Sifted", "sift"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """An event that is neither the next one after `position` nor one that was seen before."""

    arrival: Arrival
    position: Position
    verdict: Verdict


@dataclass(slots=True)
class Sifted:
    """Events in the order of their arrival, with at most one doubt for each lane."""

    next: list[Arrival] = field(default_factory=list)
    seen: list[Arrival] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)


def sift(arrivals: Iterable[Arrival], positions: Mapping[str, Position]) -> Sifted:
    """Judge each event by its number and the position of its subject.

    Later events of a lane in doubt are left out: they must not overtake the one in doubt.
    """
    sifted = Sifted()
    advanced: dict[str, Position] = {}
    doubtful: set[int] = set()
    for arrival in arrivals:
        if arrival.lane in doubtful:
            continue
        position = advanced.get(arrival.subject) or positions[arrival.subject]
        verdict = judge(event=arrival.position, stored=position)
        if verdict.kind == "next":
            _inherit_generation(arrival, position)
            advanced[arrival.subject] = arrival.position
            sifted.next.append(arrival)
        elif verdict.kind == "seen":
            sifted.seen.append(arrival)
        else:
            doubtful.add(arrival.lane)
            sifted.doubts.append(Doubt(arrival, position, verdict))
    return sifted


def _inherit_generation(arrival: Arrival, position: Position) -> None:
    """Keep the position's generation and lineage if the event names no generation itself."""
    if not arrival.position.generation:
        arrival.position = replace(
            arrival.position, generation=position.generation, lineage=position.lineage
        )
