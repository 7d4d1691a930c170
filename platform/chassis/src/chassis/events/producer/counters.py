"""The relay's counters: one row that is locked to number events.

Numbers count within a subject, ranks within the service's stream. Events without a number are read
after the counter row has been locked, so that two relays never number the same row.
"""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.database.tables import outbox, relay, subjects
from chassis.ids import uuid7

__all__ = ["Counters", "lock_counters", "number_new", "record_sent"]


@dataclass(frozen=True, slots=True)
class Counters:
    """The counter row. `sent_rank` is the highest rank that the stream is known to hold."""

    generation: str
    base_rank: int
    rank: int
    sent_rank: int
    sent_sequence: int
    lineage: str = ""


def lock_counters(session: Session) -> Counters:
    """Lock the counter row, and insert it if it does not exist yet."""
    statement = select(relay).where(relay.c.id == 1).with_for_update()
    row = session.execute(statement).mappings().first()
    if row is None:
        try:
            with session.begin_nested():
                session.execute(
                    insert(relay).values(
                        id=1,
                        generation=uuid7(),
                        base_rank=0,
                        rank=0,
                        sent_rank=0,
                        sent_sequence=0,
                        lineage="",
                    )
                )
        except IntegrityError:  # Another relay has inserted it.
            pass
        row = session.execute(statement).mappings().one()
    return Counters(**{name: row[name] for name in Counters.__slots__})


def number_new(session: Session, counters: Counters, limit: int) -> Counters:
    """Give numbers to up to `limit` events that have none, in the order of the outbox.

    The counter row must be locked. The number of statements does not depend on that of the events.
    """
    new = (
        select(outbox.c.id, outbox.c.subject)
        .where(outbox.c.number.is_(None))
        .order_by(outbox.c.id)
        .limit(limit)
        .subquery("new")
    )
    place = func.row_number().over(order_by=new.c.id)
    within_subject = func.row_number().over(partition_by=new.c.subject, order_by=new.c.id)
    given = (
        select(
            new.c.id,
            (counters.rank + place).label("rank"),
            (func.coalesce(subjects.c.number, 0) + within_subject).label("number"),
        )
        .join_from(new, subjects, subjects.c.subject == new.c.subject, isouter=True)
        .subquery("given")
    )
    numbered = session.execute(
        update(outbox)
        .where(outbox.c.id == given.c.id)
        .values(rank=given.c.rank, number=given.c.number)
        .execution_options(synchronize_session=False)
    )
    count: int = numbered.rowcount  # type: ignore[attr-defined]
    if not count:
        return counters
    rank = counters.rank + count
    last = (
        select(outbox.c.subject, func.max(outbox.c.number))
        .where(outbox.c.rank.between(counters.rank + 1, rank))
        .group_by(outbox.c.subject)
    )
    upsert = _dialect_insert(session)(subjects).from_select(["subject", "number"], last)
    session.execute(
        upsert.on_conflict_do_update(
            index_elements=["subject"], set_={"number": upsert.excluded.number}
        )
    )
    session.execute(update(relay).where(relay.c.id == 1).values(rank=rank))
    return replace(counters, rank=rank)


def record_sent(session: Session, rank: int, sequence: int) -> None:
    """Record that the stream holds all ranks up to `rank`, and ends at `sequence`."""
    session.execute(
        update(relay).where(relay.c.id == 1).values(sent_rank=rank, sent_sequence=sequence)
    )


def _dialect_insert(session: Session) -> Any:
    """Return the dialect's INSERT, because SQLAlchemy's own has no ON CONFLICT."""
    return postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
