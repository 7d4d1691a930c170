"""Dead letters for an operator: list them, redrive them, drop them.

Each function works in the caller's transaction. A function that changes rows changes at most
`limit` of the oldest that match, so that the caller can commit in chunks: call it again until it
returns 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.orm import Session

from chassis.database.tables import dead_letters
from chassis.events.tasks import dead_letter_rows

__all__ = [
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetterGroup",
    "drop_dead_letters",
    "keys_of_dead_letters",
    "last_dead_letter",
    "list_dead_letters",
    "redrive_dead_letters",
    "summarize_dead_letters",
]

# A statement names up to this many ids, because databases limit its parameters.
_IDS_PER_STATEMENT = 500


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """A selection of dead letters; all of them by default.

    `ids` are row numbers, `up_to_id` is the highest one. `type` is a full name or its last part,
    `reason` a part of the reason in upper or lower case, `key` a partition key. `before` and
    `since` limit the time at which the event became a dead letter, in epoch seconds. `version` is
    the one that gave up.
    """

    ids: Sequence[int] = field(default=())
    type: str | None = None
    reason: str | None = None
    key: str | None = None
    before: float | None = None
    since: float | None = None
    version: str | None = None
    up_to_id: int | None = None

    @property
    def is_everything(self) -> bool:
        """Whether the filter selects all dead letters."""
        return not self.ids and replace(self, ids=(), up_to_id=None) == DeadLetterFilter()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The row of an event that could not be handled.

    `died_at` is in epoch seconds. `version` is the one that gave up, empty if it is unknown.
    """

    id: int
    event_id: str
    type: str
    source: str
    key: str
    subject: str
    tries: int
    reason: str
    died_at: float
    version: str
    headers: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """Dead letters of one type with one reason; `oldest` and `newest` are epoch seconds."""

    type: str
    reason: str
    events: int
    keys: int
    oldest: float
    newest: float


def list_dead_letters(
    session: Session, chosen: DeadLetterFilter, *, limit: int, after_id: int = 0
) -> list[DeadLetter]:
    """Return at most `limit` dead letters above row `after_id`, in the order of their rows."""
    found: list[DeadLetter] = []
    for part in _split_by_ids(chosen):
        statement = (
            select(*(dead_letters.c[name] for name in DeadLetter.__slots__))
            .where(dead_letters.c.id > after_id, *_conditions(part))
            .order_by(dead_letters.c.id)
            .limit(limit - len(found))
        )
        found += [DeadLetter(*row) for row in session.execute(statement)]
    return found


def summarize_dead_letters(session: Session, chosen: DeadLetterFilter) -> list[DeadLetterGroup]:
    """Count the dead letters of each type and reason, the largest groups first."""
    groups: dict[tuple[str, str], DeadLetterGroup] = {}
    for part in _split_by_ids(chosen):
        statement = (
            select(
                dead_letters.c.type,
                dead_letters.c.reason,
                func.count(),
                func.count(dead_letters.c.key.distinct()),
                func.min(dead_letters.c.died_at),
                func.max(dead_letters.c.died_at),
            )
            .where(*_conditions(part))
            .group_by(dead_letters.c.type, dead_letters.c.reason)
        )
        for row in session.execute(statement):
            group = DeadLetterGroup(*row)
            other = groups.get((group.type, group.reason))
            groups[group.type, group.reason] = group if other is None else _sum(other, group)
    return sorted(groups.values(), key=lambda group: (-group.events, group.type, group.reason))


def keys_of_dead_letters(session: Session, chosen: DeadLetterFilter, *, limit: int) -> list[str]:
    """Return at most `limit` of their partition keys, sorted and without repetition."""
    keys: set[str] = set()
    for part in _split_by_ids(chosen):
        statement = select(dead_letters.c.key).where(*_conditions(part)).distinct()
        keys |= set(session.execute(statement.order_by(dead_letters.c.key).limit(limit)).scalars())
    return sorted(keys)[:limit]


def last_dead_letter(session: Session) -> int:
    """Return the highest row number, 0 if there are no dead letters."""
    return session.execute(select(func.max(dead_letters.c.id))).scalar() or 0


def redrive_dead_letters(session: Session, chosen: DeadLetterFilter, *, limit: int = 500) -> int:
    """Put dead letters at the end of their keys, as tasks with a full number of tries.

    Return how many. The events keep their ids, and those of one key their order.
    """
    ids = _oldest_ids(session, chosen, limit)
    return dead_letter_rows.redrive(session, ids) if ids else 0


def drop_dead_letters(session: Session, chosen: DeadLetterFilter, *, limit: int = 500) -> int:
    """Delete dead letters permanently; return how many."""
    ids = _oldest_ids(session, chosen, limit)
    if not ids:
        return 0
    deleted = session.execute(delete(dead_letters).where(dead_letters.c.id.in_(ids)))
    count: int = deleted.rowcount  # type: ignore[attr-defined]
    return count


def _oldest_ids(session: Session, chosen: DeadLetterFilter, limit: int) -> list[int]:
    """Return the ids of at most `limit` of the oldest that match, fewer if they do not fit into a
    statement."""
    most = min(limit, _IDS_PER_STATEMENT)
    found: list[int] = []
    for part in _split_by_ids(chosen):
        statement = select(dead_letters.c.id).where(*_conditions(part))
        statement = statement.order_by(dead_letters.c.id).limit(most - len(found))
        found += session.execute(statement).scalars()
        if len(found) >= most:
            break
    return found


def _split_by_ids(chosen: DeadLetterFilter) -> Iterator[DeadLetterFilter]:
    """Yield the filter in parts that fit into a statement, in the order of the rows."""
    if not chosen.ids:
        yield chosen
        return
    ids = sorted(set(chosen.ids))
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        yield replace(chosen, ids=ids[start : start + _IDS_PER_STATEMENT])


def _conditions(chosen: DeadLetterFilter) -> list[ColumnElement[bool]]:
    """Return the WHERE conditions of a filter."""
    column: Any = dead_letters.c
    conditions: list[ColumnElement[bool]] = []
    if chosen.ids:
        conditions.append(column.id.in_(list(chosen.ids)))
    if chosen.up_to_id is not None:
        conditions.append(column.id <= chosen.up_to_id)
    if chosen.type is not None:
        last_part = column.type.endswith(f".{chosen.type}", autoescape=True)
        conditions.append(or_(column.type == chosen.type, last_part))
    if chosen.reason is not None:
        conditions.append(column.reason.icontains(chosen.reason, autoescape=True))
    if chosen.key is not None:
        conditions.append(column.key == chosen.key)
    if chosen.version is not None:
        conditions.append(column.version == chosen.version)
    if chosen.before is not None:
        conditions.append(column.died_at < chosen.before)
    if chosen.since is not None:
        conditions.append(column.died_at >= chosen.since)
    return conditions


def _sum(one: DeadLetterGroup, other: DeadLetterGroup) -> DeadLetterGroup:
    """Add two groups of one type and reason; a key of both counts twice."""
    return DeadLetterGroup(
        one.type,
        one.reason,
        one.events + other.events,
        one.keys + other.keys,
        min(one.oldest, other.oldest),
        max(one.newest, other.newest),
    )
