"""The positions of a service as rows, one for each subject; moved by compare-and-set."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from chassis.database.tables import positions
from chassis.events.consumer.position import Position, PositionMoved

__all__ = ["insert_new", "load", "move", "skip", "subjects_with_position"]


def load(session: Session, stream: str) -> dict[str, Position]:
    """Return every position that the service has in a stream, by subject."""
    rows = session.execute(_OF_STREAM, {"of": stream})
    return {
        row.subject: Position(
            row.number, row.generation, row.sequence, row.event_id, tuple(row.lineage.split())
        )
        for row in rows
    }


def subjects_with_position(session: Session, subjects: Iterable[str]) -> set[str]:
    """Return the subjects that have a position already."""
    return set(session.execute(_SUBJECTS, {"these": list(subjects)}).scalars())


def insert_new(session: Session, stream: str, new: Mapping[str, Position]) -> None:
    """Insert the first positions of subjects.

    Raises:
        sqlalchemy.exc.IntegrityError: another replica has inserted one of them.
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
    """Move positions (subject, from, to), all or none, in the order of subjects.

    The common order keeps two members from deadlocking.

    Raises:
        PositionMoved: the row of one of them differs from `from`; roll back.
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
        moved = len(rows) - result.rowcount  # type: ignore[attr-defined]
        raise PositionMoved(f"another member has moved {moved} of {len(rows)} positions")


def skip(session: Session, subject: str, to: int) -> None:
    """Set a position to the number `to`, although events up to it were not processed.

    A running member notices it when it checks its stopped lanes.

    Raises:
        LookupError: the service has no position in this subject.
        ValueError: the position is at this number already, or above it.
        PositionMoved: a member moved the position concurrently.
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


_OF_STREAM = select(positions).where(positions.c.stream == bindparam("of"))
_SUBJECTS = select(positions.c.subject).where(
    positions.c.subject.in_(bindparam("these", expanding=True))
)
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
