"""Decides which replica relays: the one that holds a lock in the database.

The lock only saves work. Correctness does not depend on it, because each batch names the sequence
at which it expects the stream to end.
"""

import asyncio
import time

import structlog

from chassis.database import Database
from chassis.database.leadership import Lock
from chassis.events.producer import outbox

__all__ = ["STALLED_SECONDS", "Leadership"]

_log = structlog.get_logger(__name__)
STALLED_SECONDS = 5.0
"""How long events may wait before a standby assumes that the lock holder has stalled."""


class Leadership:
    """Tells whether this replica may relay now. Without `uses_lock` it always may."""

    def __init__(self, database: Database, stream: str, *, uses_lock: bool) -> None:
        self._database = database
        self._stream = stream
        self._lock = Lock(database.url, "relay") if uses_lock else None
        self._without_lock = False
        self._sent_rank = 0
        self._sent_at = 0.0

    async def may_lead(self) -> bool:
        """Acquire the lock if it is free, or go without it if its holder has stalled."""
        if self._lock is None:
            return True
        if await asyncio.to_thread(self._lock.acquire):
            self._without_lock = False
            return True
        if not self._without_lock and await self._is_holder_stalled():
            _log.warning(
                "relay lock holder is stalled; publishing without the lock", stream=self._stream
            )
            self._without_lock = True
        return self._without_lock

    def give_way(self) -> None:
        """Lead only with the lock from now on, because another replica does publish."""
        self._without_lock = False

    async def release(self) -> None:
        """Release the lock, until this replica may lead again."""
        if self._lock is not None:
            # A released lock can never be acquired again, so that an `acquire` which is still
            # running on its thread gets nothing.
            released, self._lock = self._lock, Lock(self._database.url, "relay")
            self._without_lock = False
            await asyncio.to_thread(released.release)

    async def _is_holder_stalled(self) -> bool:
        """Whether events have waited for `STALLED_SECONDS` while none was sent."""
        sent, waits = await self._database.read(
            lambda tx: (outbox.sent_rank(tx.session), outbox.has_unsent(tx.session))
        )
        if sent != self._sent_rank or not waits:
            self._sent_rank, self._sent_at = sent, time.monotonic()
            return False
        return time.monotonic() - self._sent_at > STALLED_SECONDS
