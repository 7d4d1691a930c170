"""How far foreign streams were read, and which of their events were taken: by source and id."""

import time
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from chassis.database.tables import foreign_events, foreign_positions
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.positions import Position, PositionMoved
from chassis.events.handlers.router import Foreign

__all__ = ["forget", "insert_first", "load", "move", "take_in"]


def load(session: Session, foreign: Foreign) -> Position | None:
    """Up to where its messages were read. The number is the sequence."""
    row = session.execute(select(foreign_positions).where(*_of(foreign))).first()
    if row is None:
        return None
    return Position(row.sequence, row.generation, row.sequence, row.event_id)


def insert_first(session: Session, foreign: Foreign, position: Position) -> None:
    """Where it begins.

    Raises:
        sqlalchemy.exc.IntegrityError: another replica was faster.
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
    """Move its position on.

    Raises:
        PositionMoved: it is not where it was; roll back.
    """
    statement = (
        update(foreign_positions)
        .where(
            *_of(foreign),
            foreign_positions.c.generation == old.generation,
            foreign_positions.c.sequence == old.sequence,
        )
        .values(generation=new.generation, sequence=new.sequence, event_id=new.event_id)
    )
    if not session.execute(statement).rowcount:  # type: ignore[attr-defined]
        raise PositionMoved(f"{foreign.stream} was read by another member")


def take_in(
    session: Session,
    arrivals: Sequence[Arrival],
    before: Mapping[str, Position],
    *,
    foreign: Foreign,
) -> Sequence[Arrival]:
    """Move the position past these, and note the events: those that were not taken before.

    One statement each, however many they are.

    Raises:
        PositionMoved: another member took some of them.
    """
    move(session, foreign, before[foreign.subject], arrivals[-1].position)
    first: dict[tuple[str, str], Arrival] = {}
    for arrival in arrivals:
        if arrival.context:
            first.setdefault((arrival.context.source, arrival.context.id), arrival)
    if not first:
        return arrivals
    now = time.time()
    rows = [{"source": source, "id": id, "taken_at": now} for source, id in first]
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    noted = (
        dialect.insert(foreign_events)
        .on_conflict_do_nothing()
        .returning(foreign_events.c.source, foreign_events.c.id)
    )
    new = {(row.source, row.id) for row in session.execute(noted, rows)}
    taken = {id(arrival) for name, arrival in first.items() if name in new}
    return [a for a in arrivals if not a.context or id(a) in taken]


def forget(session: Session, before: float, limit: int) -> int:
    """Forget events taken before then (epoch seconds), at most so many; how many there were."""
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


def _of(foreign: Foreign) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    columns = foreign_positions.c
    return columns.stream == foreign.stream, columns.subject == foreign.subject
