"""The statements on dead letters: events that nobody could handle, kept until somebody decides."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from chassis.database.chunks import chunks
from chassis.database.tables import dead_letters
from chassis.events.tasks import rows as task_rows
from chassis.events.tasks.rows import Task

__all__ = ["bury", "delete_oldest", "redrive", "store"]


def store(session: Session, events: Sequence[Mapping[str, object]]) -> None:
    """Store events as dead letters; each brings its `reason`."""
    now = time.time()
    if events:
        session.execute(
            insert(dead_letters), [{"died_at": now, "tries": 0, **event} for event in events]
        )


def bury(session: Session, task: Task, *, tries: int, reason: str) -> None:
    """Make a task a dead letter, after so many tries of this version; what waits behind it goes on.

    Raises:
        TaskTaken: it is no longer ours.
    """
    task_rows.finish(session, task)
    store(
        session,
        [{**task_rows.event_of(task), "tries": sum(task.having(tries).values()), "reason": reason}],
    )


def delete_oldest(session: Session, died_before: float, most: int) -> int:
    """Delete at most so many of the oldest that died before a time (epoch seconds); how many."""
    oldest = select(dead_letters.c.id, dead_letters.c.died_at).order_by(dead_letters.c.id)
    rows = session.execute(oldest.limit(most).with_for_update(skip_locked=True)).all()
    ids = [row.id for row in rows if row.died_at < died_before]
    for some in chunks(ids):
        session.execute(delete(dead_letters).where(dead_letters.c.id.in_(some)))
    return len(ids)


def redrive(session: Session, ids: Sequence[int] | None = None) -> int:
    """Put dead letters (all for None) at the end of their keys, in this commit; how many.

    Each keeps its event's id, and those of a key their order. A redrive of many may be cut into
    commits anywhere: what is put back is no dead letter any more.
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
    blocked = task_rows.blocked_keys(session, {row.key for row in rows})
    if blocked:
        blocked = task_rows.hold_keys(session, blocked)
    task_rows.store_in_line(session, [task_rows.event_of(row) for row in rows], blocked)
    for some in chunks([row.id for row in rows]):
        session.execute(delete(dead_letters).where(dead_letters.c.id.in_(some)))
