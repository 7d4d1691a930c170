"""The outbox's statements: numbering, reading by rank, and what recovery needs.

Numbers count within a subject, ranks within the service's stream. Both are given under the lock of
the one counter row, and only then is read what has none: two relays never number a row twice.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import bindparam, case, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.database.tables import outbox, relay, subjects
from chassis.events.ids import uuid7

__all__ = [
    "Counters",
    "Held",
    "Outgoing",
    "first_rank_since",
    "has_unsent",
    "id_of_rank",
    "lift",
    "lock_counters",
    "number_new",
    "oldest_unsent",
    "record_sent",
    "sent_rank",
    "types",
    "unsent",
    "unsent_count",
    "unsent_ids",
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


@dataclass(frozen=True, slots=True)
class Held:
    """An event as the stream holds it."""

    event_id: str
    subject: str
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
    last = (
        select(outbox.c.subject, func.max(outbox.c.number))
        .where(outbox.c.rank > counters.rank)
        .group_by(outbox.c.subject)
    )
    upsert = _insert(session)(subjects).from_select(["subject", "number"], last)
    session.execute(
        upsert.on_conflict_do_update(
            index_elements=["subject"], set_={"number": upsert.excluded.number}
        )
    )
    rank = counters.rank + count
    session.execute(update(relay).where(relay.c.id == 1).values(rank=rank))
    return replace(counters, rank=rank)


def _insert(session: Session) -> Any:
    """INSERT … ON CONFLICT is in both databases, but not in SQLAlchemy's common part."""
    return postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert


def _numbers(session: Session, names: Set[str]) -> dict[str, int]:
    rows = session.execute(select(subjects).where(subjects.c.subject.in_(names)))
    return {row.subject: row.number for row in rows}


def _write_numbers(session: Session, known: dict[str, int], last: dict[str, int]) -> None:
    new = [{"subject": s, "number": n} for s, n in last.items() if s not in known]
    moved = [{"moved": s, "to": n} for s, n in last.items() if known.get(s, n) != n]
    if new:
        session.execute(insert(subjects), new)
    if moved:
        session.execute(
            update(subjects)
            .where(subjects.c.subject == bindparam("moved"))
            .values(number=bindparam("to")),
            moved,
        )


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


def first_rank_since(session: Session, since: float) -> int | None:
    """The lowest rank among events made at `since` (epoch seconds) or later."""
    statement = select(func.min(outbox.c.rank)).where(outbox.c.created_at >= since)
    return session.execute(statement).scalar()


def id_of_rank(session: Session, rank: int) -> str | None:
    """The event that has this rank, if the outbox knows it."""
    return session.execute(select(outbox.c.event_id).where(outbox.c.rank == rank)).scalar()


def unsent_ids(session: Session, sent_rank: int) -> set[str]:
    """Ids of events without a number, or ranked above `sent_rank`."""
    unsent = outbox.c.number.is_(None) | (outbox.c.rank > sent_rank)
    return set(session.execute(select(outbox.c.event_id).where(unsent)).scalars())


def lift(
    session: Session,
    counters: Counters,
    *,
    generation: str,
    lineage: str,
    numbers: Mapping[str, int],
    held: Sequence[Held],
    sequence: int,
    rank: int,
) -> Counters:
    """Lift the counters above what the stream holds, for a database older than it.

    `numbers` are the stream's last numbers by subject, `rank` and `sequence` its last. Unsent
    events that the stream holds (`held`) take number and rank as they are there; the others lose
    what they have and are numbered anew. Under a new generation what was sent loses its rank: it
    went to another stream and is not sent to this one.
    """
    _lift_numbers(session, counters.sent_rank, numbers)
    session.execute(
        update(outbox).where(outbox.c.rank > counters.sent_rank).values(number=None, rank=None)
    )
    anew = generation != counters.generation
    if anew:
        session.execute(update(outbox).where(outbox.c.rank.is_not(None)).values(rank=None))
    if held:
        session.execute(
            update(outbox)
            .where(outbox.c.event_id == bindparam("id_"), outbox.c.number.is_(None))
            .values(number=bindparam("number_"), rank=bindparam("rank_")),
            [{"id_": h.event_id, "number_": h.number, "rank_": h.rank} for h in held],
        )
    top = max(rank, counters.rank)
    base = top if anew else counters.base_rank
    lifted = Counters(generation, base, top, top, sequence, lineage)
    session.execute(update(relay).where(relay.c.id == 1).values(asdict(lifted)))
    return lifted


def _lift_numbers(session: Session, sent_rank: int, numbers: Mapping[str, int]) -> None:
    """Each subject's last number: the stream's or that of what was sent, whichever is higher."""
    unsent = (
        select(outbox.c.subject, func.min(outbox.c.number))
        .where(outbox.c.rank > sent_rank)
        .group_by(outbox.c.subject)
    )
    before_unsent = {subject: number - 1 for subject, number in session.execute(unsent)}
    names = numbers.keys() | before_unsent.keys()
    known = _numbers(session, names)
    sent = known | before_unsent
    lifted = {name: max(sent.get(name, 0), numbers.get(name, 0)) for name in names}
    _write_numbers(session, known, lifted)


def sent_rank(session: Session) -> int:
    """The highest rank that the stream is known to hold."""
    return int(session.execute(select(_SENT_RANK)).scalar_one())


def types(session: Session) -> set[str]:
    """The types of all events that were ever numbered here, or wait for their number."""
    waiting = select(outbox.c.subject).where(outbox.c.number.is_(None))
    names = session.execute(select(subjects.c.subject).union(waiting)).scalars()
    return {name.rpartition(".")[0] for name in names}


def has_unsent(session: Session) -> bool:
    """Whether there is an event the stream has not acknowledged, numbered or not."""
    return bool(session.execute(select(select(outbox.c.id).where(_UNSENT).exists())).scalar())


def unsent_count(session: Session) -> int:
    """Events the stream has not acknowledged, numbered or not."""
    return int(session.execute(select(func.count()).where(_UNSENT)).scalar_one())


def oldest_unsent(session: Session) -> float | None:
    """When the oldest unsent event was made, in epoch seconds."""
    return session.execute(select(func.min(outbox.c.created_at)).where(_UNSENT)).scalar()


_SIZE = func.length(outbox.c.headers) + func.length(outbox.c.data)
_OUTGOING = [getattr(outbox.c, name) for name in Outgoing._fields]
_SENT_RANK = func.coalesce(select(relay.c.sent_rank).where(relay.c.id == 1).scalar_subquery(), 0)
_UNSENT = outbox.c.number.is_(None) | (outbox.c.rank > _SENT_RANK)
