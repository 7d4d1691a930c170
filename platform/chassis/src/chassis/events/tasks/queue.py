"""Which tasks may run next, and who claims them.

Only a key's oldest task may run, and it always has a due time. What is stored behind it has none,
and so costs a look nothing. Of each type the look finds the first by an index, and reads no row of
what else waits, of this type or of others.

A claim writes owner, lease and attempt and commits before the handler starts.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    ScalarSelect,
    Select,
    String,
    bindparam,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import Session, aliased

from chassis.database.chunks import chunks
from chassis.database.tables import tasks
from chassis.events.tasks.rows import Task
from chassis.events.tasks.tries import written

__all__ = ["Look", "Seen", "claim", "claim_alone", "look"]


@dataclass(frozen=True, slots=True)
class Look:
    """What a member of a version looks for: types it handles, perhaps what others `left` when their
    leases ran out, and `suspects`; never the tasks it has itself `held` all along (ids)."""

    types: Sequence[str]
    held: Sequence[int] = field(default=())
    left: bool = True
    suspects: bool = True
    version: str = ""


@dataclass(slots=True)
class Seen:
    """When the next tasks are due (epoch seconds): by type, of those that run `alone` by type, and
    when the next lease of somebody else runs out."""

    due: dict[str, float] = field(default_factory=dict)
    alone: dict[str, float] = field(default_factory=dict)
    left: float | None = None

    def types_due(self, now: float) -> list[str]:
        """The types of which something is due, who waits longest first."""
        return [t for t, at in sorted(self.due.items(), key=lambda item: item[1]) if at <= now]


def look(session: Session, what: Look) -> Seen:
    """See what is due and when the next will be; one statement."""
    seen = Seen()
    for types in chunks(what.types, _MOST_TYPES):
        statement = _look(tuple(types), what.suspects, what.left)
        for row in session.execute(statement, {"held": list(what.held)} if what.left else {}):
            if row.type is None:
                seen.left = row.due
                continue
            if row.due is not None:
                seen.due[row.type] = row.due
            if row.alone is not None:
                seen.alone[row.type] = row.alone
    return seen


# Statements are built once: that costs more than running them.
@lru_cache(maxsize=128)
def _look(types: tuple[str, ...], suspects: bool, left: bool) -> Any:
    nothing = literal(None, Double)
    parts = [
        select(
            literal(type, String).label("type"),
            _first_due(type, alone=False).label("due"),
            (_first_due(type, alone=True) if suspects else nothing).label("alone"),
        )
        for type in types
    ]
    if left:
        first = _claimed(types).order_by(tasks.c.leased_until).limit(1)
        end = first.with_only_columns(tasks.c.leased_until).scalar_subquery()
        parts.append(select(literal(None, String), end, nothing))
    return union_all(*parts)


def _first_due(type: str, *, alone: bool) -> ScalarSelect[Any]:
    first = _free(type, alone=alone).limit(1)
    return first.with_only_columns(tasks.c.due_at).scalar_subquery()


def _free(type: str, *, alone: bool) -> Select[Any]:
    """The tasks that are nobody's and wait behind none, as the index has them."""
    return (
        select(tasks)
        .where(
            tasks.c.type == type,
            tasks.c.alone == alone,
            tasks.c.owner.is_(None),
            tasks.c.due_at >= 0,  # not NULL, in a way that SQLite finds by the index
            _is_first(),
        )
        .order_by(tasks.c.due_at, tasks.c.id)
    )


def _is_first() -> ColumnElement[bool]:
    """It is the oldest task of its key."""
    older = aliased(tasks)
    same_key = (older.c.source == tasks.c.source) & (older.c.key == tasks.c.key)
    return ~select(older.c.id).where(same_key, older.c.id < tasks.c.id).exists()


def _claimed(types: tuple[str, ...]) -> Select[Any]:
    """What others have claimed: few, whatever waits."""
    return select(tasks).where(
        tasks.c.leased_until >= 0,
        tasks.c.owner.is_not(None),
        tasks.c.type.in_(types),
        tasks.c.id.not_in(bindparam("held", expanding=True)),
    )


def claim(
    session: Session,
    what: Look,
    places: Mapping[str, int],
    *,
    owner: str,
    lease_seconds: float,
) -> tuple[list[Task], int]:
    """Claim so many tasks of each type that are due, each the oldest of its key; and how many of
    those that others left were freed.

    A task whose owner vanished is suspected of having killed it: it is freed to be run alone.
    """
    rows = _locked(session, places, alone=False)
    if what.left:
        values = {"now": time.time(), "held": list(what.held)}
        rows += session.execute(_left(tuple(what.types)), values).all()
    left = [row.id for row in rows if row.owner is not None]
    for ids in chunks(left):
        freed = {"owner": None, "leased_until": None, "alone": True}
        session.execute(update(tasks).where(tasks.c.id.in_(ids)).values(freed))
    mine = [Task.of(row, what.version) for row in rows if row.owner is None]
    return _claim(session, mine, owner, lease_seconds), len(left)


def claim_alone(
    session: Session, *, owner: str, types: Sequence[str], lease_seconds: float, version: str = ""
) -> Task | None:
    """Claim one task that runs alone. The attempt counts as a try before it starts."""
    rows = _locked(session, dict.fromkeys(types, 1), alone=True)
    first = sorted(rows, key=lambda row: (row.due_at, row.id))[:1]
    if not first:
        return None
    task = Task.of(first[0], version)
    task = replace(task, tried=task.having(task.tries + 1))
    return _claim(session, [task], owner, lease_seconds, written(task.tried))[0]


def _locked(session: Session, places: Mapping[str, int], *, alone: bool) -> list[Any]:
    """So many rows of each type that are due, passing over what another claims."""
    now = time.time()
    rows: list[Any] = []
    for types in chunks(list(places), _MOST_TYPES):
        values = {"now": now, **{f"most_{n}": places[type] for n, type in enumerate(types)}}
        rows += session.execute(_due(tuple(types), alone), values).all()
    return rows


@lru_cache(maxsize=512)
def _due(types: tuple[str, ...], alone: bool) -> Any:
    parts = [
        _free(type, alone=alone)
        .where(tasks.c.due_at <= bindparam("now", type_=Double))
        .limit(bindparam(f"most_{n}", type_=Integer))
        for n, type in enumerate(types)
    ]
    return union_all(*(select(_lock(part).subquery()) for part in parts))


@lru_cache(maxsize=128)
def _left(types: tuple[str, ...]) -> Any:
    """What was claimed and no longer renewed."""
    ended = _claimed(types).where(tasks.c.leased_until < bindparam("now", type_=Double))
    return _lock(ended.limit(_MOST_FREED))


def _lock(chosen: Select[Any]) -> Select[Any]:
    """Pass over what another claims; not over what is only held."""
    return chosen.with_for_update(skip_locked=True, of=tasks, key_share=True)


def _claim(
    session: Session,
    chosen: Sequence[Task],
    owner: str,
    lease_seconds: float,
    values: Mapping[str, object] = MappingProxyType({}),
) -> list[Task]:
    """One statement, however many they are; it writes the `values` as well."""
    leased_until = time.time() + lease_seconds
    claimed = {"owner": owner, "leased_until": leased_until, "attempt": tasks.c.attempt + 1}
    for ids in chunks([task.id for task in chosen]):
        session.execute(update(tasks).where(tasks.c.id.in_(ids)).values({**claimed, **values}))
    return [replace(task, attempt=task.attempt + 1) for task in chosen]


# SQLite joins at most 500 SELECTs into one statement.
_MOST_TYPES = 100
_MOST_FREED = 100
