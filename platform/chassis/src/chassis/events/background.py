"""The background tasks of an event path; an error in one of them is fatal for the process."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from chassis.events.waiting import end

__all__ = ["BackgroundTasks"]

_log = structlog.get_logger(__name__)


class BackgroundTasks:
    """Runs coroutines until `end`. `on_fatal` is called if one of them fails before that."""

    def __init__(self, on_fatal: Callable[[Exception], None]) -> None:
        self._on_fatal = on_fatal
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in the background."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._check)
        self._tasks.append(task)
        return task

    def expect_end(self) -> None:
        """Let tasks end or fail from now on without calling `on_fatal`."""
        self._ending = True

    async def end(self) -> None:
        """Cancel all tasks, and return when they have ended."""
        self.expect_end()
        await end(self._tasks)

    def _check(self, task: asyncio.Task[None]) -> None:
        """Stop the process if a task failed: otherwise it would keep reporting that it is ready."""
        if self._ending:
            return
        error = (
            RuntimeError("a background task was cancelled")
            if task.cancelled()
            else task.exception()
        )
        if error is not None:
            # This comes before the log line because logging may fail for the same reason.
            self._on_fatal(error if isinstance(error, Exception) else RuntimeError(repr(error)))
            _log.error("part of the event path failed; stopping the service", exc_info=error)
