"""Marks that tell by when ranks had been sent, by the broker's clock.

They tell which events a recreated stream no longer needs, and which rows the outbox may delete. An
event's age counts from when the stream stored it, because it may have waited in the outbox.
"""

import time

from sqlalchemy import bindparam, delete, func, insert, select
from sqlalchemy.orm import Session

from chassis.database.tables import sent_marks

__all__ = ["aged_rank", "delete_all", "delete_below", "highest", "mark"]

# The maximum age of a stream is divided by this number; one mark is recorded in each part.
_MARKS_PER_AGE = 500
# A stream without a maximum age gets a mark at this interval.
_UNLIMITED_SECONDS = 3600.0
_LATEST = select(sent_marks).order_by(sent_marks.c.rank.desc()).limit(1)
_HIGHEST = select(func.max(sent_marks.c.rank))
_AGED_RANK = _HIGHEST.where(
    sent_marks.c.sent_at <= bindparam("broker"), sent_marks.c.noted_at <= bindparam("host")
)


def mark(
    session: Session,
    rank: int,
    sent_at: float,
    max_age: float,
    *,
    broker_time: float | None = None,
) -> None:
    """Record that all ranks up to `rank` had been sent by `sent_at` (the broker's epoch seconds).

    `max_age` is that of the stream, in seconds. `broker_time` is the broker's present time: with
    it, nothing is recorded shortly after another mark.
    """
    latest = session.execute(_LATEST).one_or_none()
    if latest and rank <= latest.rank:
        return
    interval = max_age / _MARKS_PER_AGE or _UNLIMITED_SECONDS
    now = sent_at if broker_time is None else broker_time
    if broker_time is not None and latest and 0 <= now - latest.sent_at < interval:
        return
    # This host's time of sending. The limit keeps the error small if the broker's clock jumps.
    noted_at = time.time() - min(max(0.0, now - sent_at), _UNLIMITED_SECONDS)
    new = {"rank": rank, "sent_at": sent_at, "noted_at": noted_at}
    session.execute(insert(sent_marks), new)


def aged_rank(session: Session, broker_time: float, age: float) -> int:
    """Return the rank up to which all was sent at least `age` seconds ago; 0 if there is none.

    The age must have passed by the broker's clock and by this host's, because either may have
    jumped ahead. An event that is sent once too often is dropped by its number.
    """
    times = {"broker": broker_time - age, "host": time.time() - age}
    return session.execute(_AGED_RANK, times).scalar() or 0


def highest(session: Session) -> int:
    """Return the highest rank with a mark; 0 if there is none."""
    return session.execute(_HIGHEST).scalar() or 0


def delete_below(session: Session, rank: int) -> None:
    """Delete the marks below a rank."""
    session.execute(delete(sent_marks).where(sent_marks.c.rank < rank))


def delete_all(session: Session) -> None:
    """Delete all marks, because a new generation gives the ranks another meaning."""
    session.execute(delete(sent_marks))
