"""Lets event handlers run beside each other, or one of them alone in its process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["Gate"]


class Gate:
    """A lock that many share or one has alone; who waits to be alone lets no new ones in."""

    def __init__(self) -> None:
        self._entrance = asyncio.Lock()
        self._sharing = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        async with self._entrance:
            self._enter()
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def alone(self, seconds: float | None = None) -> AsyncIterator[None]:
        """Keep the entrance closed, for at most `seconds` until all have left.

        Raises:
            TimeoutError: they have not; who waits outside gets in.
        """
        async with self._entrance:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
            yield

    def stay(self, task: asyncio.Task[Any]) -> None:
        """The task, which has it alone, shares it from now on, until it ends."""
        self._enter()
        task.add_done_callback(lambda _: self._leave())

    def _enter(self) -> None:
        self._sharing += 1
        self._empty.clear()

    def _leave(self) -> None:
        self._sharing -= 1
        if not self._sharing:
            self._empty.set()
