"""Events that the stream refuses: set apart, so that the events behind them can be sent.

An event that is set apart gives its number back, and so do all events that were numbered after it,
so that numbers have no gaps. It also loses its place: if it is sent later, it comes after all
events of its key that were published in the meantime.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, literal, select
from sqlalchemy.orm import Session

from chassis.database.chunks import chunks
from chassis.database.tables import outbox, refused
from chassis.events.wire.contracts import type_of_subject

__all__ = [
    "Refused",
    "count",
    "drop",
    "event_ids",
    "list_all",
    "restore_as_sent",
    "send_again",
    "set_apart",
]

_COUNT = select(func.count()).select_from(refused)
_COLUMNS = ("event_id", "subject", "headers", "data", "created_at")


@dataclass(frozen=True, slots=True)
class Refused:
    """An event set apart: `bytes` of headers and data, `reason` in the server's words."""

    id: int
    event_id: str
    type: str
    bytes: int
    reason: str
    created_at: float
    refused_at: float


def set_apart(session: Session, row: int, reason: str) -> None:
    """Move the event with this row id out of the outbox. Its number must have been revoked."""
    names = ["id", *_COLUMNS, "reason", "refused_at"]
    values = (outbox.c.id, *(outbox.c[name] for name in _COLUMNS))
    moved = select(*values, literal(reason), literal(time.time())).where(outbox.c.id == row)
    session.execute(insert(refused).from_select(names, moved))
    session.execute(delete(outbox).where(outbox.c.id == row))


def count(session: Session) -> int:
    """Return the number of events set apart."""
    return int(session.execute(_COUNT).scalar_one())


def event_ids(session: Session) -> set[str]:
    """Return the ids of all events set apart."""
    return set(session.execute(select(refused.c.event_id)).scalars())


def list_all(session: Session) -> list[Refused]:
    """Return all events set apart, in the order in which they were published."""
    size = func.length(refused.c.headers) + func.length(refused.c.data)
    statement = select(
        refused.c.id,
        refused.c.event_id,
        refused.c.subject,
        size,
        refused.c.reason,
        refused.c.created_at,
        refused.c.refused_at,
    ).order_by(refused.c.id)
    return [
        Refused(id, event_id, type_of_subject(subject), bytes, reason, created_at, refused_at)
        for id, event_id, subject, bytes, reason, created_at, refused_at in session.execute(
            statement
        )
    ]


def send_again(session: Session, ids: Sequence[int]) -> int:
    """Move events to the end of the outbox, in their order; return the number that were moved."""
    sent = 0
    for some in chunks(sorted(ids)):
        # The lock makes a second, concurrent call wait and then find no rows.
        chosen = select(refused.c.id).where(refused.c.id.in_(some)).order_by(refused.c.id)
        there = session.execute(chosen.with_for_update()).scalars().all()
        rows = select(*(refused.c[name] for name in _COLUMNS)).where(refused.c.id.in_(there))
        session.execute(insert(outbox).from_select(list(_COLUMNS), rows.order_by(refused.c.id)))
        sent += _delete_rows(session, there)
    return sent


def drop(session: Session, ids: Sequence[int]) -> int:
    """Delete events permanently; return the number that were deleted."""
    return sum(_delete_rows(session, some) for some in chunks(ids))


def restore_as_sent(session: Session, held: Mapping[str, tuple[int, int]]) -> None:
    """Move events that the stream does hold back into the outbox as sent.

    `held` are number and rank by event id.
    """
    for event_id, (number, rank) in held.items():
        event = refused.c.event_id == event_id
        values = [*(refused.c[name] for name in _COLUMNS), literal(number), literal(rank)]
        rank_exists = select(outbox.c.id).where(outbox.c.rank == rank).exists()
        rows = select(*values).where(event, ~rank_exists)
        session.execute(insert(outbox).from_select([*_COLUMNS, "number", "rank"], rows))
        session.execute(delete(refused).where(event))


def _delete_rows(session: Session, ids: Sequence[int]) -> int:
    deleted = session.execute(delete(refused).where(refused.c.id.in_(ids)))
    return int(deleted.rowcount)  # type: ignore[attr-defined]
