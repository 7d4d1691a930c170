"""The outbox's statements: numbering, reading by rank, and what recovery needs.

Numbers count within a subject, ranks within the service's stream. Both are given under the lock of
the one counter row, and only then is read what has none: two relays never number a row twice.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import Select, case, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.database.tables import outbox, relay, subjects
from chassis.ids import uuid7

__all__ = [
    "Counters",
    "Outgoing",
    "has_unsent",
    "id_of_rank",
    "lock_counters",
    "number_new",
    "oldest_unsent",
    "record_sent",
    "row_of_rank",
    "rows_of_unsent",
    "sent_rank",
    "types",
    "unsent",
    "unsent_count",
]


@dataclass(frozen=True, slots=True)
class Counters:
    """The relay's counter row. `sent_rank` is the highest the stream is known to hold."""

    generation: str
    base_rank: int
    rank: int
    sent_rank: int
    sent_sequence: int
    lineage: str = ""


class Outgoing(NamedTuple):
    """A numbered event on its way to the stream."""

    subject: str
    headers: bytes
    data: bytes
    number: int
    rank: int


def lock_counters(session: Session) -> Counters:
    """Lock the counter row, making it if there is none yet."""
    statement = select(relay).where(relay.c.id == 1).with_for_update()
    row = session.execute(statement).first()
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
        except IntegrityError:  # another relay was faster
            pass
        row = session.execute(statement).one()
    return Counters(**{name: row._mapping[name] for name in Counters.__slots__})


def number_new(session: Session, counters: Counters, limit: int) -> Counters:
    """Number what has no number yet, in the outbox's order. The counter row must be locked.

    Set-based: two statements, however many events there are.
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
    upsert = _insert(session)(subjects).from_select(["subject", "number"], last)
    session.execute(
        upsert.on_conflict_do_update(
            index_elements=["subject"], set_={"number": upsert.excluded.number}
        )
    )
    session.execute(update(relay).where(relay.c.id == 1).values(rank=rank))
    return replace(counters, rank=rank)


def _insert(session: Session) -> Any:
    """INSERT … ON CONFLICT is in both databases, but not in SQLAlchemy's common part."""
    return postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert


def unsent(session: Session, after_rank: int, limit: int, max_bytes: int) -> list[Outgoing]:
    """Numbered events above a rank, in rank order: at least one, if there is one, and no more
    than so many and so many bytes."""
    some = (
        select(outbox.c.rank, _SIZE.label("size"))
        .where(outbox.c.rank > after_rank)
        .order_by(outbox.c.rank)
        .limit(limit)
        .subquery("some")
    )
    total = func.sum(some.c.size).over(order_by=some.c.rank).label("total")
    summed = select(some.c.rank, total).subquery("summed")
    within = func.max(case((summed.c.total <= max_bytes, summed.c.rank)))
    last = session.execute(select(func.coalesce(within, func.min(summed.c.rank)))).scalar()
    if last is None:
        return []
    statement = (
        select(*_OUTGOING)
        .where(outbox.c.rank.between(after_rank + 1, last))
        .order_by(outbox.c.rank)
    )
    return [Outgoing._make(row) for row in session.execute(statement)]


def record_sent(session: Session, rank: int, sequence: int) -> None:
    """The stream holds everything up to `rank`, and `rank` at `sequence`."""
    session.execute(
        update(relay).where(relay.c.id == 1).values(sent_rank=rank, sent_sequence=sequence)
    )


def id_of_rank(session: Session, rank: int) -> str | None:
    """The event that has this rank, if the outbox knows it."""
    return session.execute(select(outbox.c.event_id).where(outbox.c.rank == rank)).scalar()


def row_of_rank(session: Session, rank: int) -> int:
    """The id of the row that has this rank."""
    return int(session.execute(select(outbox.c.id).where(outbox.c.rank == rank)).scalar_one())


def rows_of_unsent(session: Session) -> dict[str, int]:
    """Which rows hold events that the stream has not acknowledged: their ids, by the events'."""
    rows = _unnumbered(outbox.c.event_id, outbox.c.id).union_all(
        _ranked(outbox.c.event_id, outbox.c.id)
    )
    return {row.event_id: row.id for row in session.execute(rows)}


def sent_rank(session: Session) -> int:
    """The highest rank that the stream is known to hold."""
    return int(session.execute(select(_SENT_RANK)).scalar_one())


def types(session: Session) -> set[str]:
    """The types of all events that were ever numbered here, or wait for their number."""
    names = select(subjects.c.subject).union(_unnumbered(outbox.c.subject))
    return {name.rpartition(".")[0] for name in session.execute(names).scalars()}


# What is unsent has no number, or ranks above what was sent. Each half is found by its own index,
# however many rows were sent; asked for both at once the database would read them all.


def has_unsent(session: Session) -> bool:
    """Whether there is an event the stream has not acknowledged, numbered or not."""
    unnumbered = select(func.min(outbox.c.id)).where(outbox.c.number.is_(None))
    highest = select(func.coalesce(func.max(outbox.c.rank), 0))
    found = or_(unnumbered.scalar_subquery().is_not(None), highest.scalar_subquery() > _SENT_RANK)
    return bool(session.execute(select(found)).scalar())


def unsent_count(session: Session) -> int:
    """Events the stream has not acknowledged, numbered or not; without those set apart."""
    count = _unnumbered(func.count()).scalar_subquery() + _ranked(func.count()).scalar_subquery()
    return int(session.execute(select(count)).scalar_one())


def oldest_unsent(session: Session) -> float | None:
    """When the oldest unsent event was made, in epoch seconds."""
    first = _unnumbered(outbox.c.created_at).order_by(outbox.c.id).limit(1).subquery()
    first_ranked = _ranked(outbox.c.created_at).order_by(outbox.c.rank).limit(1).subquery()
    both = select(first.c.created_at).union_all(select(first_ranked.c.created_at)).subquery()
    return session.execute(select(func.min(both.c.created_at))).scalar()


def _unnumbered(*columns: Any) -> Select[Any]:
    return select(*columns).select_from(outbox).where(outbox.c.number.is_(None))


def _ranked(*columns: Any) -> Select[Any]:
    """Of what is numbered and not sent. With both ends PostgreSQL expects it to be little."""
    unsent = outbox.c.rank.between(_SENT_RANK + 1, _RANK)
    return select(*columns).select_from(outbox).where(unsent)


_SIZE = func.length(outbox.c.headers) + func.length(outbox.c.data)
_OUTGOING = [getattr(outbox.c, name) for name in Outgoing._fields]
_COUNTERS = select(relay).where(relay.c.id == 1)
_SENT_RANK = func.coalesce(_COUNTERS.with_only_columns(relay.c.sent_rank).scalar_subquery(), 0)
_RANK = func.coalesce(_COUNTERS.with_only_columns(relay.c.rank).scalar_subquery(), 0)
