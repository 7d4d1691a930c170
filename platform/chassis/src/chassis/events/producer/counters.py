"""The relay's counters: one row that is locked to number events.

Numbers count within a subject, ranks within the service's stream. Events without a number are read
after the counter row has been locked, so that two relays never number the same row.
"""

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from sqlalchemy import BigInteger, Integer, bindparam, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.database.tables import outbox, relay, subjects
from chassis.events.producer.outbox import NumberedEvent
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
    row = session.execute(_LOCK).mappings().first()
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
        row = session.execute(_LOCK).mappings().one()
    return Counters(**{name: row[name] for name in Counters.__slots__})


def number_new(
    session: Session, counters: Counters, limit: int, max_bytes: int
) -> tuple[Counters, list[NumberedEvent]]:
    """Give numbers to events that have none, in the order of the outbox, and return the events.

    They are up to `limit` events of together up to `max_bytes`; the first one may be larger. The
    counter row must be locked, and gets all of `counters`. The number of statements does not depend
    on that of the events.
    """
    limits = {"above": counters.rank, "most": limit, "max_bytes": max_bytes}
    events = [NumberedEvent._make(row) for row in session.execute(_NUMBER, limits).all()]
    if not events:
        return counters, events
    events.sort(key=_RANK_OF)
    rank = counters.rank + len(events)
    # Within a subject the numbers rise with the ranks, so that the last one stays.
    last_numbers = {event.subject: event.number for event in events}
    session.execute(_KEEP_NUMBERS, [{"subject": s, "number": n} for s, n in last_numbers.items()])
    sent = {"sent_rank": counters.sent_rank, "sent_sequence": counters.sent_sequence}
    session.execute(_CHANGE, {"rank": rank, **sent})
    return replace(counters, rank=rank), events


def record_sent(session: Session, rank: int, sequence: int) -> None:
    """Record that the stream holds all ranks up to `rank`, and ends at `sequence`."""
    session.execute(_CHANGE, {"sent_rank": rank, "sent_sequence": sequence})


def _number_events() -> Any:
    """Give numbers to the first events without one, and the ranks above `above`.

    They are the first `most` within `max_bytes`, and at least one. It returns them as they are then
    in the outbox, which spares the relay a statement that reads them.
    """
    size = func.length(outbox.c.headers) + func.length(outbox.c.data)
    new = (
        select(outbox.c.id, outbox.c.subject, size.label("size"))
        .where(outbox.c.number.is_(None))
        .order_by(outbox.c.id)
        .limit(bindparam("most", type_=Integer))
        .subquery("new")
    )
    placed = (
        select(
            new.c.id,
            func.row_number().over(order_by=new.c.id).label("place"),
            func.sum(new.c.size).over(order_by=new.c.id, rows=(None, 0)).label("bytes"),
            func.coalesce(subjects.c.number, 0).label("number"),
            func.row_number().over(partition_by=new.c.subject, order_by=new.c.id).label("nth"),
        )
        .join_from(new, subjects, subjects.c.subject == new.c.subject, isouter=True)
        .subquery("placed")
    )
    within = placed.c.bytes <= bindparam("max_bytes", type_=BigInteger)
    return (
        update(outbox)
        .where(outbox.c.id == placed.c.id, or_(placed.c.place == 1, within))
        .values(
            rank=bindparam("above", type_=BigInteger) + placed.c.place,
            number=placed.c.number + placed.c.nth,
        )
        .returning(*(outbox.c[name] for name in NumberedEvent._fields))
        .execution_options(synchronize_session=False)
    )


_RANK_OF = attrgetter("rank")
# Statements are built once, because building one costs more than running it.
_LOCK = select(relay).where(relay.c.id == 1).with_for_update()
_CHANGE = update(relay).where(relay.c.id == 1)
_NUMBER = _number_events()
_INSERT = postgresql.insert(subjects)
# SQLite understands PostgreSQL's ON CONFLICT.
_KEEP_NUMBERS = _INSERT.on_conflict_do_update(
    index_elements=["subject"], set_={"number": _INSERT.excluded.number}
)
