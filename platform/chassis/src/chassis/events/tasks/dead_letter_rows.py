"""Statements on dead letters: events that are not tried again, kept until an operator decides."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from chassis.database.chunks import chunks
from chassis.database.tables import dead_letters
from chassis.events.tasks import claims, storage
from chassis.events.tasks.task import Task, event_of

__all__ = ["bury", "delete_oldest", "redrive", "store"]


def store(session: Session, events: Sequence[Mapping[str, object]]) -> None:
    """Store events as dead letters; each has a `reason`."""
    now = time.time()
    if events:
        session.execute(
            insert(dead_letters), [{"died_at": now, "tries": 0, **event} for event in events]
        )


def bury(session: Session, task: Task, *, tries: int, reason: str, version: str = "") -> None:
    """Make a task a dead letter, so that the tasks behind it can run.

    `tries` are those of this version; `version` names it, unless no version runs the task's type.

    Raises:
        ClaimLost: the transaction must be rolled back.
    """
    claims.finish(session, task)
    total = sum(task.with_tries(tries).values())
    dead = {**event_of(task), "tries": total, "reason": reason, "version": version}
    store(session, [dead])


def delete_oldest(session: Session, died_before: float, most: int) -> int:
    """Delete up to `most` of the oldest dead letters that died before a time (epoch seconds).

    Return the number that were deleted.
    """
    oldest = select(dead_letters.c.id, dead_letters.c.died_at).order_by(dead_letters.c.id)
    rows = session.execute(oldest.limit(most).with_for_update(skip_locked=True)).all()
    ids = [row.id for row in rows if row.died_at < died_before]
    for some in chunks(ids):
        session.execute(delete(dead_letters).where(dead_letters.c.id.in_(some)))
    return len(ids)


def redrive(session: Session, ids: Sequence[int] | None = None) -> int:
    """Put dead letters (None for all) back as the last tasks of their keys.

    Return the number that were put back. Each event keeps its id, and the events of a key their
    order. A long redrive may be cut into several commits, because an event that was put back is no
    longer a dead letter.
    """
    if ids is None:
        ids = session.execute(select(dead_letters.c.id)).scalars().all()
    put_back = 0
    for some in chunks(sorted(ids)):
        chosen = select(dead_letters).where(dead_letters.c.id.in_(some)).order_by(dead_letters.c.id)
        rows = session.execute(chosen.with_for_update()).all()
        _put_back(session, rows)
        put_back += len(rows)
    return put_back


def _put_back(session: Session, rows: Sequence[Any]) -> None:
    """Store dead letters as the last tasks of their keys, and delete them."""
    blocked = storage.blocked_keys(session, {row.key for row in rows})
    if blocked:
        blocked = storage.lock_keys(session, blocked)
    storage.store_in_order(session, [event_of(row) for row in rows], blocked)
    for some in chunks([row.id for row in rows]):
        session.execute(delete(dead_letters).where(dead_letters.c.id.in_(some)))
