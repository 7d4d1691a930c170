"""Clean-up of the outbox: what was sent is deleted once no stream can need it again.

An event is needed for as long as its stream keeps it: if the stream is lost, it is sent again. In
small batches with pauses between them, by the one replica that relays.
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

__all__ = ["Cleaned", "Cleaner", "clean", "keep_seconds"]

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 60.0
_ROWS_AT_ONCE = 500
# Events go out of a stream at its maximum age; who asks for one just before still gets it.
_MARGIN_SECONDS = 3600.0
# Of its time the clean-up works a fifth.
_PAUSE = 4
_SHORTEST_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Cleaned:
    """How many rows a batch deleted, and up to which rank none is left."""

    rows: int
    up_to_rank: int


def keep_seconds(settings: EventSettings, max_age: float) -> float | None:
    """How long sent events are kept, for a stream of this maximum age; None means for ever."""
    if not max_age:
        return None
    in_stream = max(max_age, settings.stream_max_age_seconds)
    return max(settings.outbox_keep_seconds, in_stream + _MARGIN_SECONDS)


def clean(
    session: Session, *, broker_time: float, age: float, above: int, limit: int = _ROWS_AT_ONCE
) -> Cleaned:
    """Delete at most `limit` events that were sent at least `age` seconds ago.

    `above` is the rank up to which none is left, as far as is known: so what has been deleted is
    not passed over again. Sent marks that nobody needs go with them.
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
        gone = delete(outbox).where(outbox.c.rank.between(first, up_to))
        return Cleaned(int(session.execute(gone).rowcount), up_to)  # type: ignore[attr-defined]
    sent_marks.forget_before(session, aged)
    if last < counters.base_rank or not counters.base_rank:
        return Cleaned(0, above)
    # The present life of the counters is older than that: what was sent in others is, too.
    earlier = (
        select(outbox.c.id)
        .where(outbox.c.rank.is_(None), outbox.c.number.is_not(None))
        .order_by(outbox.c.id)
        .limit(limit)
    )
    gone = delete(outbox).where(outbox.c.id.in_(earlier))
    return Cleaned(int(session.execute(gone).rowcount), above)  # type: ignore[attr-defined]


class Cleaner:
    """Cleans a service's outbox for as long as its process relays."""

    def __init__(self, database: Database, settings: EventSettings) -> None:
        self._database = database
        self._settings = settings
        self._ahead = 0.0
        self._max_age = 0.0
        self._above = 0

    def compared(self, state: StreamState, *, anew: bool) -> None:
        """The stream as its relay has found it: how old its events become, and its clock.

        `anew`: what was known of ranks no longer holds.
        """
        self._max_age = state.max_age_seconds
        self._ahead = state.now - time.monotonic()
        if anew:
            self._above = 0

    async def run(self) -> None:
        """Clean until cancelled."""
        self._above = 0
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._clean_all()
            except Exception as error:
                _log.warning("outbox cleanup failed; retrying", error=repr(error))

    async def _clean_all(self) -> None:
        age = keep_seconds(self._settings, self._max_age)
        rows = 0
        while age is not None:
            started = time.monotonic()
            cleaned = await self._database.transaction(
                lambda tx, started=started: clean(  # type: ignore[misc]
                    tx.session, broker_time=self._ahead + started, age=age, above=self._above
                )
            )
            if not cleaned.rows:
                break
            rows += cleaned.rows
            self._above = cleaned.up_to_rank
            busy = time.monotonic() - started
            await asyncio.sleep(max(_SHORTEST_PAUSE_SECONDS, _PAUSE * busy))
        if rows:
            _log.debug("outbox cleaned", rows=rows, up_to_rank=self._above)
