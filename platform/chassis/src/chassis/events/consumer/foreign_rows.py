"""The positions in foreign streams, and the source and id of each event that was processed."""

import time
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from chassis.database.tables import foreign_events, foreign_positions
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.position import Position, PositionMoved
from chassis.events.handlers.router import Foreign

__all__ = ["forget", "insert_first", "load", "move", "move_and_record"]


def load(session: Session, foreign: Foreign) -> Position | None:
    """Return the position up to which messages were read; its number is its sequence."""
    row = session.execute(select(foreign_positions).where(*_matches(foreign))).first()
    if row is None:
        return None
    return Position(row.sequence, row.generation, row.sequence, row.event_id)


def insert_first(session: Session, foreign: Foreign, position: Position) -> None:
    """Insert the position from which reading begins.

    Raises:
        sqlalchemy.exc.IntegrityError: another replica has inserted one.
    """
    session.execute(
        insert(foreign_positions).values(
            stream=foreign.stream,
            subject=foreign.subject,
            generation=position.generation,
            sequence=position.sequence,
            event_id=position.event_id,
        )
    )


def move(session: Session, foreign: Foreign, old: Position, new: Position) -> None:
    """Move the position by compare-and-set.

    Raises:
        PositionMoved: the row differs from `old`; roll back.
    """
    statement = (
        update(foreign_positions)
        .where(
            *_matches(foreign),
            foreign_positions.c.generation == old.generation,
            foreign_positions.c.sequence == old.sequence,
        )
        .values(generation=new.generation, sequence=new.sequence, event_id=new.event_id)
    )
    if not session.execute(statement).rowcount:  # type: ignore[attr-defined]
        raise PositionMoved(f"{foreign.stream} was read by another member")


def move_and_record(
    session: Session,
    arrivals: Sequence[Arrival],
    positions: Mapping[str, Position],
    *,
    foreign: Foreign,
) -> Sequence[Arrival]:
    """Move the position past these events, record them, and return those that are new.

    This takes two statements, whatever the number of events.

    Raises:
        PositionMoved: another member has processed some of them.
    """
    move(session, foreign, positions[foreign.subject], arrivals[-1].position)
    first: dict[tuple[str, str], Arrival] = {}
    for arrival in arrivals:
        if arrival.context:
            first.setdefault((arrival.context.source, arrival.context.id), arrival)
    if not first:
        return arrivals
    now = time.time()
    rows = [{"source": source, "id": id, "taken_at": now} for source, id in first]
    new = {(row.source, row.id) for row in session.execute(_RECORD, rows)}
    recorded = {id(arrival) for name, arrival in first.items() if name in new}
    return [a for a in arrivals if not a.context or id(a) in recorded]


def forget(session: Session, before: float, limit: int) -> int:
    """Delete up to `limit` events recorded before a time (epoch seconds); return their number."""
    key = foreign_events.c.source, foreign_events.c.id
    old = (
        select(*key)
        .where(foreign_events.c.taken_at < before)
        .order_by(foreign_events.c.taken_at)
        .limit(limit)
    )
    rows = [{"s": row.source, "i": row.id} for row in session.execute(old)]
    if rows:
        session.execute(
            delete(foreign_events).where(
                foreign_events.c.source == bindparam("s"), foreign_events.c.id == bindparam("i")
            ),
            rows,
        )
    return len(rows)


def _matches(foreign: Foreign) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return the conditions that select the position of a foreign subject."""
    columns = foreign_positions.c
    return columns.stream == foreign.stream, columns.subject == foreign.subject


# SQLite understands PostgreSQL's ON CONFLICT.
_RECORD = (
    postgresql.insert(foreign_events)
    .on_conflict_do_nothing()
    .returning(foreign_events.c.source, foreign_events.c.id)
)
