"""Claims of tasks: made before an attempt, renewed while it runs, ended with it.

A claim writes owner, lease and attempt, and is committed before the handler starts. A statement
that ends a claim finds its row by id and attempt, so that it fails if another member has claimed
the task in the meantime.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    Select,
    bindparam,
    delete,
    func,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.orm import Session

from chassis.database.chunks import chunks
from chassis.database.tables import tasks
from chassis.events.tasks.queue import (
    MAX_TYPES,
    TaskFilter,
    select_claimed_by_others,
    select_unclaimed,
)
from chassis.events.tasks.task import ClaimLost, Task
from chassis.events.tasks.tries import tries_columns

__all__ = ["claim", "claim_suspect", "finish", "postpone", "release", "renew"]

_MAX_FREED = 100


def claim(
    session: Session,
    wanted: TaskFilter,
    places: Mapping[str, int],
    *,
    owner: str,
    lease_seconds: float,
) -> tuple[list[Task], int]:
    """Claim due tasks, up to `places` of each type.

    Return them, and the number of expired claims that were freed. A freed task runs alone from then
    on, because it is suspected of having ended the process of its owner.
    """
    rows = _lock_due(session, places, alone=False, canary=wanted.canary)
    if wanted.expired:
        values = {"now": time.time(), "held": list(wanted.held_ids)}
        rows += session.execute(_select_expired(tuple(wanted.types)), values).all()
    expired = [row.id for row in rows if row.owner is not None]
    for ids in chunks(expired):
        freed = {"owner": None, "leased_until": None, "alone": True}
        session.execute(update(tasks).where(tasks.c.id.in_(ids)).values(freed))
    due = [Task.of(row, wanted.version) for row in rows if row.owner is None]
    return _claim_rows(session, due, owner, lease_seconds), len(expired)


def claim_suspect(
    session: Session,
    *,
    owner: str,
    types: Sequence[str],
    lease_seconds: float,
    version: str = "",
    canary: str = "",
) -> Task | None:
    """Claim one due task that runs alone. Its attempt counts as a try before it starts."""
    rows = _lock_due(session, dict.fromkeys(types, 1), alone=True, canary=canary)
    first = sorted(rows, key=lambda row: (row.due_at, row.id))[:1]
    if not first:
        return None
    task = Task.of(first[0], version)
    task = replace(task, tried=task.with_tries(task.tries + 1))
    return _claim_rows(session, [task], owner, lease_seconds, tries_columns(task.tried))[0]


def _lock_due(
    session: Session, places: Mapping[str, int], *, alone: bool, canary: str
) -> list[Any]:
    """Lock and return due rows of each type, skipping rows that another member is claiming."""
    common = {"now": time.time(), "canary": canary}
    rows: list[Any] = []
    for types in chunks(list(places), MAX_TYPES):
        values = {**common, **{f"most_{n}": places[type] for n, type in enumerate(types)}}
        rows += session.execute(_select_due(tuple(types), alone), values).all()
    return rows


# Statements are cached because building one costs more than running it.
@lru_cache(maxsize=512)
def _select_due(types: tuple[str, ...], alone: bool) -> Any:
    """Select and lock the due tasks of each type, up to `most_N` of type N."""
    parts = [
        select_unclaimed(type, alone=alone)
        .where(tasks.c.due_at <= bindparam("now", type_=Double))
        .limit(bindparam(f"most_{n}", type_=Integer))
        for n, type in enumerate(types)
    ]
    return union_all(*(select(_with_lock(part).subquery()) for part in parts))


@lru_cache(maxsize=128)
def _select_expired(types: tuple[str, ...]) -> Any:
    """Select and lock tasks whose lease has run out."""
    ended = select_claimed_by_others(types).where(
        tasks.c.leased_until < bindparam("now", type_=Double)
    )
    return _with_lock(ended.limit(_MAX_FREED))


def _with_lock(chosen: Select[Any]) -> Select[Any]:
    """Lock the rows (FOR NO KEY UPDATE), skipping those that another claim has locked.

    A row that `storage.lock_keys` has locked is not skipped, because FOR KEY SHARE does not
    conflict.
    """
    return chosen.with_for_update(skip_locked=True, of=tasks, key_share=True)


def _claim_rows(
    session: Session,
    chosen: Sequence[Task],
    owner: str,
    lease_seconds: float,
    values: Mapping[str, object] = MappingProxyType({}),
) -> list[Task]:
    """Claim all chosen tasks by one statement, which writes `values` as well."""
    leased_until = time.time() + lease_seconds
    claimed = {"owner": owner, "leased_until": leased_until, "attempt": tasks.c.attempt + 1}
    for ids in chunks([task.id for task in chosen]):
        session.execute(update(tasks).where(tasks.c.id.in_(ids)).values({**claimed, **values}))
    return [replace(task, attempt=task.attempt + 1) for task in chosen]


def renew(session: Session, held: Iterable[Task], lease_seconds: float) -> None:
    """Extend the leases of claimed tasks.

    A task whose own commit is running is skipped: its row is locked, so that no member can claim
    it.
    """
    for some in chunks(list(held)):
        ours = tuple_(tasks.c.id, tasks.c.attempt).in_([(t.id, t.attempt) for t in some])
        # A task that was released while this statement was on its way must get no lease.
        claimed = select(tasks.c.id).where(ours, tasks.c.owner.is_not(None))
        free = claimed.with_for_update(skip_locked=True, key_share=True)
        session.execute(
            update(tasks)
            .where(tasks.c.id.in_(free))
            .values(leased_until=time.time() + lease_seconds)
        )


def finish(session: Session, task: Task) -> None:
    """Delete a task that takes effect in this transaction, and make the next of its key due.

    Raises:
        ClaimLost: the transaction must be rolled back.
    """
    deleted = session.execute(_FINISH, {"of_id": task.id, "of_attempt": task.attempt}).first()
    if deleted is None:
        raise ClaimLost("the task was claimed by another member")
    if not deleted.followed:
        return
    # This is a second statement so that it sees what the first one had to wait for.
    session.execute(_MAKE_NEXT_DUE, {"of_source": task.source, "of_key": task.key})


def postpone(
    session: Session,
    task: Task,
    *,
    tries: int,
    due_at: float,
    reason: str,
    canary: str | None = None,
) -> None:
    """Release a task that failed, to be tried again at `due_at` (epoch seconds).

    `tries` are those of this version. The task belongs to `canary` from now on, if that is given.

    Raises:
        ClaimLost: the transaction must be rolled back.
    """
    unowned = {"owner": None, "leased_until": None, "due_at": due_at}
    failure = {"reason": reason, **tries_columns(task.with_tries(tries))}
    values = {**unowned, **failure, **({} if canary is None else {"canary": canary})}
    updated: Any = session.execute(update(tasks).where(_is_claim_of(task)).values(values))
    if updated.rowcount != 1:
        raise ClaimLost("the task was claimed by another member")


def release(session: Session, task: Task, *, due_at: float | None = None) -> None:
    """Release a task without counting its attempt as a try; change its due time if one is given."""
    values: dict[str, object] = {"owner": None, "leased_until": None}
    if task.alone:
        values |= tries_columns(task.with_tries(task.tries - 1))
    if due_at is not None:
        values["due_at"] = due_at
    session.execute(update(tasks).where(_is_claim_of(task)).values(values))


def _is_claim_of(task: Task) -> ColumnElement[bool]:
    """Whether a row is still the claim that this task was made from."""
    return (tasks.c.id == task.id) & (tasks.c.attempt == task.attempt)


_FINISH = (
    delete(tasks)
    .where(tasks.c.id == bindparam("of_id"), tasks.c.attempt == bindparam("of_attempt"))
    .returning(tasks.c.followed)
)
_FIRST_OF_KEY = select(func.min(tasks.c.id)).where(
    tasks.c.source == bindparam("of_source"), tasks.c.key == bindparam("of_key")
)
# It has been due since it was stored, so that tasks which have waited longest come first.
_MAKE_NEXT_DUE = (
    update(tasks)
    .where(tasks.c.id == _FIRST_OF_KEY.scalar_subquery())
    .values(due_at=func.coalesce(tasks.c.due_at, tasks.c.stored_at), followed=True)
)
