"""Which replica relays: the one that holds a lock in the database, to save work.

Nothing rests on the lock: whoever relays, each batch says where it expects the stream to end.
"""

import asyncio
import time

import structlog

from chassis.database import Database
from chassis.database.leadership import Lock
from chassis.events.producer import outbox

__all__ = ["Leadership"]

_log = structlog.get_logger(__name__)
# How long events may wait before a standby takes the lock's holder for stalled and publishes too.
_STALLED_SECONDS = 5.0


class Leadership:
    """Says whether this replica may relay at the moment.

    Without `locks` it always may, beside any other.
    """

    def __init__(self, database: Database, stream: str, *, locks: bool) -> None:
        self._database = database
        self._stream = stream
        self._lock = Lock(database.url, "relay") if locks else None
        self._without_lock = False
        self._sent_rank = 0
        self._sent_at = 0.0

    async def may_lead(self) -> bool:
        """Take the lock if it is free; else take the place of a holder that has stalled."""
        if self._lock is None:
            return True
        if await asyncio.to_thread(self._lock.acquire):
            self._without_lock = False
            return True
        if not self._without_lock and await self._holder_stalls():
            _log.warning(
                "relay lock holder is stalled; publishing without the lock", stream=self._stream
            )
            self._without_lock = True
        return self._without_lock

    def give_way(self) -> None:
        """Another replica publishes after all: lead again with the lock only."""
        self._without_lock = False

    async def release(self) -> None:
        """Let another replica have the lock, until this one may lead again."""
        if self._lock is not None:
            # A lock is released for good: an `acquire` that is still on its thread takes nothing.
            released, self._lock = self._lock, Lock(self._database.url, "relay")
            self._without_lock = False
            await asyncio.to_thread(released.release)

    async def _holder_stalls(self) -> bool:
        """Whether events have waited for `_STALLED_SECONDS` while none was sent."""
        sent, waits = await self._database.read(
            lambda tx: (outbox.sent_rank(tx.session), outbox.has_unsent(tx.session))
        )
        if sent != self._sent_rank or not waits:
            self._sent_rank, self._sent_at = sent, time.monotonic()
            return False
        return time.monotonic() - self._sent_at > _STALLED_SECONDS
