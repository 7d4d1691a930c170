"""The position of a subject: up to which event a service has processed it."""

from collections.abc import Mapping
from dataclasses import dataclass

from chassis.events.wire import event_headers

__all__ = ["ANY", "Position", "PositionMoved", "position_of"]

ANY = -1
"""The number of a position before a subject's first event, if the stream may lack the subject's
oldest events: an event with any number is the next one."""


@dataclass(frozen=True, slots=True)
class Position:
    """An event's number, generation, sequence in the stream, and id.

    Stored per subject, it names the last event that was processed. `lineage` are the generations
    whose numbers lie below those of `generation`.
    """

    number: int
    generation: str
    sequence: int
    event_id: str = ""
    lineage: tuple[str, ...] = ()

    def covers(self, generation: str) -> bool:
        """Return whether numbers of `generation` can be compared with this position's number.

        They can if it is this position's generation or one of its lineage. An empty generation,
        that of a message which no relay has sent, is accepted.
        """
        return generation in ("", self.generation, *self.lineage)

    def continues(self, previous: "Position") -> bool:
        """Return whether this number and that of the previous position are of one counting."""
        return previous.number == ANY or not previous.generation or self.covers(previous.generation)


def position_of(headers: Mapping[str, str], sequence: int) -> Position:
    """Return the position of a message; its number is 0 if no relay has sent it to this place."""
    return Position(
        0
        if event_headers.is_copy(headers, sequence)
        else event_headers.integer(headers, event_headers.NUMBER),
        event_headers.generation(headers),
        sequence,
        event_headers.event_id(headers),
        event_headers.lineage(headers),
    )


class PositionMoved(Exception):
    """Another member has moved a position in the meantime; roll back this commit."""
