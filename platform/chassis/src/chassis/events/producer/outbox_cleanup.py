"""Clean-up of the outbox: sent events are deleted once no stream can need them again.

An event is needed for as long as its stream keeps it, because a lost stream is filled again from
the outbox. The replica that relays deletes in small batches, with pauses between them.
"""

import asyncio
import time
from dataclasses import dataclass

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from chassis.database import Database
from chassis.database.tables import outbox, relay
from chassis.event_settings import EventSettings
from chassis.events.jetstream.streams import StreamState
from chassis.events.producer import sent_marks

__all__ = ["LOOK_SECONDS", "ROWS_AT_ONCE", "Cleaned", "Cleaner", "clean", "keep_seconds"]

_log = structlog.get_logger(__name__)
LOOK_SECONDS = 60.0
"""Pause between two searches for events that have reached their age."""
ROWS_AT_ONCE = 500
"""Maximum number of events that one transaction deletes."""
# A consumer that misses an event shortly before the stream deletes it has this time to ask for it.
_MARGIN_SECONDS = 3600.0
# The clean-up pauses for four times as long as a batch took, so that it works a fifth of the time.
_PAUSE_FACTOR = 4
_MIN_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The number of rows that a batch deleted. No sent row is left up to `up_to_rank`."""

    rows: int
    up_to_rank: int


def keep_seconds(settings: EventSettings, max_age: float) -> float | None:
    """Return how long to keep sent events, by the stream's maximum age (seconds; 0 for unlimited).

    None means that they are kept forever.
    """
    if not max_age:
        return None
    in_stream = max(max_age, settings.stream_max_age_seconds)
    return max(settings.outbox_keep_seconds, in_stream + _MARGIN_SECONDS)


def clean(session: Session, *, broker_time: float, age: float, above: int, limit: int) -> Cleaned:
    """Delete up to `limit` events that were sent at least `age` seconds ago.

    No sent row is known to be left up to the rank `above`, where the search begins, so that deleted
    index entries are not read again. Sent marks that are no longer needed are deleted as well.
    """
    counters = session.execute(select(relay).where(relay.c.id == 1)).one_or_none()
    if counters is None:
        return Cleaned(0, 0)
    aged = sent_marks.aged_rank(session, broker_time, age)
    last = min(aged, counters.sent_rank)
    ranked = select(func.min(outbox.c.rank)).where(outbox.c.rank.between(above + 1, last))
    first = session.execute(ranked).scalar()
    if first is not None:
        up_to = min(last, first + limit - 1)
        deleted = delete(outbox).where(outbox.c.rank.between(first, up_to))
        return Cleaned(int(session.execute(deleted).rowcount), up_to)  # type: ignore[attr-defined]
    sent_marks.delete_below(session, aged)
    if last < counters.base_rank or not counters.base_rank:
        return Cleaned(0, above)
    # The present generation is older than `age`, so everything sent in earlier ones is, too.
    earlier = (
        select(outbox.c.id)
        .where(outbox.c.rank.is_(None), outbox.c.number.is_not(None))
        .order_by(outbox.c.id)
        .limit(limit)
    )
    deleted = delete(outbox).where(outbox.c.id.in_(earlier))
    return Cleaned(int(session.execute(deleted).rowcount), above)  # type: ignore[attr-defined]


class Cleaner:
    """Cleans a service's outbox while its process relays."""

    def __init__(self, database: Database, settings: EventSettings) -> None:
        self._database = database
        self._settings = settings
        self._max_age = 0.0
        self._broker_minus_monotonic = 0.0
        self._cleaned_rank = 0

    def set_stream(self, state: StreamState, *, ranks_changed: bool) -> None:
        """Set the stream's maximum age and clock, as the relay has found them.

        `ranks_changed` tells that ranks have another meaning than before.
        """
        self._max_age = state.max_age_seconds
        self._broker_minus_monotonic = state.now - time.monotonic()
        if ranks_changed:
            self._cleaned_rank = 0

    async def run(self) -> None:
        """Clean once a minute, until cancelled."""
        self._cleaned_rank = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._clean_all()
            except Exception as error:
                _log.warning("outbox cleanup failed; retrying", error=repr(error))

    async def _clean_all(self) -> None:
        """Delete all rows that have reached their age, in batches with pauses between them."""
        age = keep_seconds(self._settings, self._max_age)
        rows = 0
        while age is not None:
            started = time.monotonic()
            cleaned = await self._database.transaction(
                lambda tx, now=self._broker_minus_monotonic + started: clean(  # type: ignore[misc]
                    tx.session,
                    broker_time=now,
                    age=age,
                    above=self._cleaned_rank,
                    limit=ROWS_AT_ONCE,
                )
            )
            if not cleaned.rows:
                break
            rows += cleaned.rows
            self._cleaned_rank = cleaned.up_to_rank
            busy = time.monotonic() - started
            await asyncio.sleep(max(_MIN_PAUSE_SECONDS, _PAUSE_FACTOR * busy))
        if rows:
            _log.debug("outbox cleaned", rows=rows, up_to_rank=self._cleaned_rank)
