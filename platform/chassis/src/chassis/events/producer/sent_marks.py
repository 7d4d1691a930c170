"""By when what had been sent: marks in the ranks, with the broker's time.

They tell what a stream made anew no longer needs, and which rows of the outbox nobody needs. An
event counts from when the stream took it, not from when it was made: it may have waited long.
"""

import time

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from chassis.database.tables import sent_marks

__all__ = ["aged_rank", "forget", "forget_before", "highest", "note"]

# So many marks are made in the time for which a stream keeps its events.
_IN_AN_AGE = 500
_UNLIMITED_SECONDS = 3600.0  # between marks of a stream without a maximum age


def note(
    session: Session,
    rank: int,
    sent_at: float,
    max_age: float,
    *,
    broker_time: float | None = None,
) -> None:
    """What ranks up to `rank` had been sent by `sent_at` (the broker's epoch seconds).

    `max_age` is that of the stream. `broker_time` is the time of asking: shortly after another
    mark none is made. Without it one is made in any case.
    """
    latest = session.execute(
        select(sent_marks).order_by(sent_marks.c.rank.desc()).limit(1)
    ).one_or_none()
    if latest and rank <= latest.rank:
        return
    apart = max_age / _IN_AN_AGE or _UNLIMITED_SECONDS
    now = sent_at if broker_time is None else broker_time
    if broker_time is not None and latest and 0 <= now - latest.sent_at < apart:
        return
    # What that time was by this host's clock; a clock of the broker that jumped misleads little.
    noted_at = time.time() - min(max(0.0, now - sent_at), _UNLIMITED_SECONDS)
    session.execute(insert(sent_marks).values(rank=rank, sent_at=sent_at, noted_at=noted_at))


def aged_rank(session: Session, broker_time: float, age: float) -> int:
    """The rank up to which everything was sent at least `age` seconds ago; 0 if there is none.

    By the broker's clock and by this host's: one alone may have jumped ahead. Where they differ
    the younger age counts, for what is sent once too often is dropped by its number.
    """
    aged = (sent_marks.c.sent_at <= broker_time - age) & (
        sent_marks.c.noted_at <= time.time() - age
    )
    return session.execute(select(func.max(sent_marks.c.rank)).where(aged)).scalar() or 0


def highest(session: Session) -> int:
    """The highest rank that is known to have been sent once."""
    return session.execute(select(func.max(sent_marks.c.rank))).scalar() or 0


def forget_before(session: Session, rank: int) -> None:
    """Remove the marks below `rank`."""
    session.execute(delete(sent_marks).where(sent_marks.c.rank < rank))


def forget(session: Session) -> None:
    """Remove all marks: ranks have got another meaning."""
    session.execute(delete(sent_marks))
