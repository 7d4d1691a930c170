"""Lets event handlers run concurrently, or one of them exclusively in its process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["Gate"]


class Gate:
    """A lock that is shared by many or held exclusively by one.

    While an exclusive holder waits, nothing new enters.
    """

    def __init__(self) -> None:
        self._entrance = asyncio.Lock()
        self._sharing = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold the lock together with others."""
        async with self._entrance:
            self._enter()
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def exclusive(self, seconds: float | None = None) -> AsyncIterator[None]:
        """Hold the lock exclusively, after waiting for at most `seconds` until all have left.

        Raises:
            TimeoutError: they have not left in that time.
        """
        async with self._entrance:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
            yield

    def share_until_done(self, task: asyncio.Task[Any]) -> None:
        """Let the exclusive holder's task share the lock until it is done."""
        self._enter()
        task.add_done_callback(lambda _: self._leave())

    def _enter(self) -> None:
        """Count one more holder that shares the lock."""
        self._sharing += 1
        self._empty.clear()

    def _leave(self) -> None:
        """Count one holder less; after the last, let an exclusive holder enter."""
        self._sharing -= 1
        if not self._sharing:
            self._empty.set()
