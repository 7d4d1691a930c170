"""Stores events as tasks, in the order of their keys.

The oldest task of a key may run, and no other has a due time. A task that is stored behind it
gets its due time in the transaction that finishes the task before it.
"""

import time
from collections.abc import Iterable, Mapping, Sequence, Set

from sqlalchemy import ARRAY, String, any_, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from chassis.database.chunks import chunks
from chassis.database.tables import dead_letters, tasks

__all__ = ["blocked_keys", "count", "lock_keys", "store", "store_in_order"]

# This means NOT NULL, and SQLite uses the index only for a comparison.
_HAS_DUE_TIME = tasks.c.due_at >= 0
# Statements are built once, because building one costs more than running it.
_FIRST_TASKS = select(tasks.c.source, tasks.c.key).where(_HAS_DUE_TIME)
_FIRST_TASKS_OF_KEYS = _FIRST_TASKS.where(tasks.c.key.in_(bindparam("keys", expanding=True)))
# A list of values would be another statement for each number of keys, which costs PostgreSQL and
# its driver more than all else that a batch asks for.
_ANY_KEY = any_(bindparam("keys", type_=ARRAY(String)))
_BLOCKED = {
    "sqlite": _FIRST_TASKS_OF_KEYS.distinct(),
    "postgresql": _FIRST_TASKS.where(tasks.c.key == _ANY_KEY).distinct(),
}
_LOCK = _FIRST_TASKS_OF_KEYS.with_for_update(read=True, key_share=True)
_COUNT_TASKS = select(func.count()).select_from(tasks)
_COUNT_DEAD_LETTERS = select(func.count()).select_from(dead_letters)


def blocked_keys(session: Session, keys: Iterable[str]) -> set[tuple[str, str]]:
    """Return the (source, key) pairs that have a task, so that later events have to wait."""
    found: set[tuple[str, str]] = set()
    statement = _BLOCKED[session.get_bind().dialect.name]
    for some in chunks(list(keys)):
        found |= {(row.source, row.key) for row in session.execute(statement, {"keys": some})}
    return found


def lock_keys(session: Session, blocked: Set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Lock the first tasks of these keys until this commit, and return the keys still blocked.

    Without the lock such a task could finish, and give no due time to the task behind it, while
    this transaction stores that one.
    """
    locked: set[tuple[str, str]] = set()
    keys = set(blocked)
    while left := keys - locked:
        # A task may have finished while this transaction waited for its lock, and another task may
        # block the key now.
        names = sorted({key for _, key in left})
        for some in chunks(names):
            locked |= {(row.source, row.key) for row in session.execute(_LOCK, {"keys": some})}
        keys = locked | (left & blocked_keys(session, names))
    return locked


def store(session: Session, events: Sequence[Mapping[str, object]]) -> None:
    """Store events as tasks that are due now, unless an event has a `due_at`."""
    now = time.time()
    new: dict[str, object] = {
        "stored_at": now,
        "due_at": now,
        "followed": False,
        "tries": 0,
        "tried": "{}",
        "attempt": 0,
        "alone": False,
        "canary": "",
        "reason": "",
    }
    if events:
        session.execute(insert(tasks), [{**new, **event} for event in events])


def store_in_order(
    session: Session, events: Sequence[Mapping[str, object]], blocked: Set[tuple[str, str]]
) -> None:
    """Store events as tasks that wait behind earlier tasks of their key.

    `blocked` are the keys that have tasks already; they must be locked.
    """
    rows: list[dict[str, object]] = []
    first: dict[object, dict[str, object]] = {}
    followed_keys: set[str] = set()
    for event in events:
        row, key = (
            {"due_at": time.time(), "followed": False, **event},
            (event["source"], event["key"]),
        )
        if key in blocked or key in first:
            row["due_at"] = None
            if key in first:
                first[key]["followed"] = True
            else:
                followed_keys.add(str(event["key"]))
        else:
            first[key] = row
        rows.append(row)
    for keys in chunks(sorted(followed_keys)):
        before = tasks.c.key.in_(keys) & _HAS_DUE_TIME
        session.execute(
            update(tasks).where(before, tasks.c.followed.is_(False)).values(followed=True)
        )
    store(session, rows)


def count(session: Session) -> tuple[int, int]:
    """Return the number of tasks and the number of dead letters."""
    return (
        int(session.execute(_COUNT_TASKS).scalar_one()),
        int(session.execute(_COUNT_DEAD_LETTERS).scalar_one()),
    )
