"""Up to where a service has taken the events of each subject; moved by compare-and-set."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from chassis.database.tables import positions
from chassis.events.wire import transport

__all__ = [
    "ANY",
    "Position",
    "PositionMoved",
    "insert_new",
    "known_subjects",
    "load",
    "move",
    "position_of",
    "skip",
]

# The number of a position whose subject had events that the stream no longer holds: whatever
# comes first is the next one.
ANY = -1


@dataclass(frozen=True, slots=True)
class Position:
    """The last event taken of a subject: its number, generation, sequence in the stream, and id.

    `lineage` are the generations whose numbers lie below those of its own.
    """

    number: int
    generation: str
    sequence: int
    event_id: str = ""
    lineage: tuple[str, ...] = ()

    def knows(self, generation: str) -> bool:
        """Whether the numbers of a generation are of one count with its own, and not above it.

        What names no generation is no relay's, and says nothing.
        """
        return generation in ("", self.generation, *self.lineage)

    def goes_on(self, after: "Position") -> bool:
        """Whether its number counts on from that of the position before."""
        return after.number == ANY or not after.generation or self.knows(after.generation)


def position_of(headers: Mapping[str, str], sequence: int) -> Position:
    """Where a message stands; its number is 0 if no relay has sent it, or if it is a copy."""
    return Position(
        0 if transport.is_copy(headers, sequence) else transport.integer(headers, transport.NUMBER),
        transport.generation(headers),
        sequence,
        transport.event_id(headers),
        transport.lineage(headers),
    )


class PositionMoved(Exception):
    """Somebody else has taken events of these subjects; this commit is refused."""


def load(session: Session, stream: str) -> dict[str, Position]:
    """Every position the service has in a stream, by subject."""
    rows = session.execute(select(positions).where(positions.c.stream == stream))
    return {
        row.subject: Position(
            row.number, row.generation, row.sequence, row.event_id, tuple(row.lineage.split())
        )
        for row in rows
    }


def known_subjects(session: Session, subjects: Iterable[str]) -> set[str]:
    """Which of the subjects have a position."""
    statement = select(positions.c.subject).where(positions.c.subject.in_(list(subjects)))
    return set(session.execute(statement).scalars())


def insert_new(session: Session, stream: str, new: Mapping[str, Position]) -> None:
    """Write first positions.

    Raises:
        sqlalchemy.exc.IntegrityError: another replica was faster.
    """
    session.execute(
        insert(positions),
        [
            {
                "subject": subject,
                "stream": stream,
                "number": position.number,
                "generation": position.generation,
                "sequence": position.sequence,
                "event_id": position.event_id,
                "lineage": " ".join(position.lineage),
            }
            for subject, position in sorted(new.items())
        ],
    )


def move(session: Session, moves: Sequence[tuple[str, Position, Position]]) -> None:
    """Move positions (subject, from, to), all or none, in subject order.

    Raises:
        PositionMoved: one of them is not where it was; roll back.
    """
    rows = [
        {
            "s": subject,
            "from_number": old.number,
            "from_generation": old.generation,
            "to_number": new.number,
            "to_generation": new.generation,
            "to_sequence": new.sequence,
            "to_event_id": new.event_id,
            "to_lineage": " ".join(new.lineage),
        }
        for subject, old, new in sorted(moves, key=lambda m: m[0])
    ]
    result = session.execute(_MOVE, rows)
    if result.rowcount != len(rows):  # type: ignore[attr-defined]
        raise PositionMoved(f"{len(rows) - result.rowcount} of {len(rows)} positions moved")  # type: ignore[attr-defined]


def skip(session: Session, subject: str, to: int) -> None:
    """Go on after the event of this number, though the ones up to it were not taken.

    A running member sees it when it looks at its stopped lanes.

    Raises:
        LookupError: the service has no position in this subject.
        ValueError: it is there already, or further.
    """
    number = session.execute(select(positions.c.number).where(positions.c.subject == subject))
    found = number.scalar()
    if found is None:
        raise LookupError(f"no position in {subject}")
    if found >= to:
        raise ValueError(f"{subject} is at number {found} already")
    statement = update(positions).where(positions.c.subject == subject, positions.c.number == found)
    if not session.execute(statement.values(number=to, event_id="")).rowcount:  # type: ignore[attr-defined]
        raise PositionMoved(f"{subject} is no longer at number {found}")


_MOVE = (
    update(positions)
    .where(
        positions.c.subject == bindparam("s"),
        positions.c.number == bindparam("from_number"),
        positions.c.generation == bindparam("from_generation"),
    )
    .values(
        number=bindparam("to_number"),
        generation=bindparam("to_generation"),
        sequence=bindparam("to_sequence"),
        event_id=bindparam("to_event_id"),
        lineage=bindparam("to_lineage"),
    )
)
