"""Reads of the outbox: the next events to publish, and what is still unsent.

An event is unsent if it has no number, or if its rank is above the relay's `sent_rank`. Queries ask
for each half on its own because each has its own index: in one condition with OR the database would
read all rows that were sent.
"""

from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Integer, Select, bindparam, case, func, or_, select
from sqlalchemy.orm import Session

from chassis.database.tables import outbox, relay, subjects
from chassis.events.wire.contracts import type_of_subject

__all__ = [
    "NumberedEvent",
    "event_id_of_rank",
    "has_unsent",
    "oldest_unsent",
    "row_of_rank",
    "rows_of_unsent",
    "sent_rank",
    "types",
    "unsent_after",
    "unsent_count",
]


class NumberedEvent(NamedTuple):
    """An event of the outbox that is ready for the stream."""

    subject: str
    headers: bytes
    data: bytes
    number: int
    rank: int


def unsent_after(session: Session, rank: int, limit: int, max_bytes: int) -> list[NumberedEvent]:
    """Return the events above a rank, in rank order: up to `limit` of together up to `max_bytes`.

    The first event is returned even if it is larger than `max_bytes`.
    """
    limits = {"above": rank, "most": limit, "max_bytes": max_bytes}
    last = session.execute(_LAST_RANK_WITHIN, limits).scalar()
    if last is None:
        return []
    rows = session.execute(_NUMBERED_EVENTS, {"above": rank, "last": last})
    return [NumberedEvent._make(row) for row in rows]


def event_id_of_rank(session: Session, rank: int) -> str | None:
    """Return the id of the event with this rank; None if the outbox does not hold it."""
    return session.execute(select(outbox.c.event_id).where(outbox.c.rank == rank)).scalar()


def row_of_rank(session: Session, rank: int) -> int:
    """Return the row id of the event with this rank."""
    return int(session.execute(select(outbox.c.id).where(outbox.c.rank == rank)).scalar_one())


def rows_of_unsent(session: Session) -> dict[str, int]:
    """Return the row ids of all unsent events, by event id."""
    return {row.event_id: row.id for row in session.execute(_ROWS_OF_UNSENT)}


def sent_rank(session: Session) -> int:
    """Return the highest rank that the stream is known to hold; 0 for none."""
    return int(session.execute(_SELECT_SENT_RANK).scalar_one())


def types(session: Session) -> set[str]:
    """Return the types of all events that this outbox has ever held."""
    return {type_of_subject(subject) for subject in session.execute(_SUBJECTS).scalars()}


def has_unsent(session: Session) -> bool:
    """Whether any event is unsent."""
    return bool(session.execute(_HAS_UNSENT).scalar())


def unsent_count(session: Session) -> int:
    """Return the number of unsent events, without those that are set apart."""
    return int(session.execute(_UNSENT_COUNT).scalar_one())


def oldest_unsent(session: Session) -> float | None:
    """Return when the oldest unsent event was published, in epoch seconds; None without one."""
    return session.execute(_OLDEST_UNSENT).scalar()


def _select_unnumbered(*columns: Any) -> Select[Any]:
    return select(*columns).select_from(outbox).where(outbox.c.number.is_(None))


def _select_unsent_numbered(*columns: Any) -> Select[Any]:
    """Select from the numbered, unsent events. With both ends PostgreSQL expects few of them."""
    unsent = outbox.c.rank.between(_SENT_RANK + 1, _RANK)
    return select(*columns).select_from(outbox).where(unsent)


def _select_last_rank_within() -> Select[Any]:
    """Select the last of the ranks above `above`: of the first `most`, within `max_bytes`."""
    size = func.length(outbox.c.headers) + func.length(outbox.c.data)
    some = (
        select(outbox.c.rank, size.label("size"))
        .where(outbox.c.rank > bindparam("above"))
        .order_by(outbox.c.rank)
        .limit(bindparam("most", type_=Integer))
        .subquery("some")
    )
    total = func.sum(some.c.size).over(order_by=some.c.rank, rows=(None, 0)).label("total")
    summed = select(some.c.rank, total).subquery("summed")
    within = func.max(
        case((summed.c.total <= bindparam("max_bytes", type_=BigInteger), summed.c.rank))
    )
    return select(func.coalesce(within, func.min(summed.c.rank)))


def _select_has_unsent() -> Select[Any]:
    unnumbered = select(func.min(outbox.c.id)).where(outbox.c.number.is_(None)).scalar_subquery()
    highest = select(func.coalesce(func.max(outbox.c.rank), 0)).scalar_subquery()
    return select(or_(unnumbered.is_not(None), highest > _SENT_RANK))


def _select_oldest_unsent() -> Select[Any]:
    first = _select_unnumbered(outbox.c.created_at).order_by(outbox.c.id).limit(1).subquery()
    first_ranked = (
        _select_unsent_numbered(outbox.c.created_at).order_by(outbox.c.rank).limit(1).subquery()
    )
    both = select(first.c.created_at).union_all(select(first_ranked.c.created_at)).subquery()
    return select(func.min(both.c.created_at))


# Statements are built once, because building one costs more than running it.
_COUNTERS = select(relay).where(relay.c.id == 1)
_SENT_RANK = func.coalesce(_COUNTERS.with_only_columns(relay.c.sent_rank).scalar_subquery(), 0)
_RANK = func.coalesce(_COUNTERS.with_only_columns(relay.c.rank).scalar_subquery(), 0)
_SELECT_SENT_RANK = select(_SENT_RANK)
_LAST_RANK_WITHIN = _select_last_rank_within()
_NUMBERED_EVENTS = (
    select(*(outbox.c[name] for name in NumberedEvent._fields))
    .where(outbox.c.rank > bindparam("above"), outbox.c.rank <= bindparam("last"))
    .order_by(outbox.c.rank)
)
_ROWS_OF_UNSENT = _select_unnumbered(outbox.c.event_id, outbox.c.id).union_all(
    _select_unsent_numbered(outbox.c.event_id, outbox.c.id)
)
_SUBJECTS = select(subjects.c.subject).union(_select_unnumbered(outbox.c.subject))
_HAS_UNSENT = _select_has_unsent()
_UNSENT_COUNT = select(
    _select_unnumbered(func.count()).scalar_subquery()
    + _select_unsent_numbered(func.count()).scalar_subquery()
)
_OLDEST_UNSENT = _select_oldest_unsent()
