"""The loop in which one stream is read: from the stored positions, until something changes.

Whenever anything is in doubt, the positions are read again and a new consumer is created.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

from chassis.database import ConnectionLost, DatabaseDown
from chassis.events.consumer.dependencies import ReaderDependencies
from chassis.events.consumer.held_lanes import HeldLanes
from chassis.events.consumer.position import PositionMoved
from chassis.events.consumer.pull import Pull, PullBroken
from chassis.events.jetstream.api import StreamGone
from chassis.events.jetstream.hindrance import Hindrance
from chassis.events.waiting import wait_at_most

__all__ = ["PULL_BYTES", "ReadLoop", "Reopen"]

_log = structlog.get_logger(__name__)
PULL_BYTES = 8 * 1024 * 1024
"""The bytes that one request may deliver, or more if events may be larger."""
_STREAM_POLL_SECONDS = 0.25
_STREAM_POLL_MAX_SECONDS = 2.0


class Reopen(Exception):
    """The consumer is out of date: read the positions again and create a new one."""


class ReadLoop:
    """Repeats the reading of one stream until `stop`.

    `filters` are the subjects that the reader needs of the stream. `if_missing` tells an operator
    what to do if the stream is missing and services do not create streams.

    Attributes:
        lanes_known: Whether the reader knows which lanes it reads and which ones are stopped.
        hindrance: Why the stream cannot be read although the broker is connected, if so.
    """

    def __init__(
        self,
        stream: str,
        lanes: HeldLanes,
        dependencies: ReaderDependencies,
        *,
        filters: Sequence[str] = (),
        if_missing: str,
    ) -> None:
        self._stream = stream
        self._broker = dependencies.broker
        self._members = dependencies.members
        self._settings = dependencies.settings
        self._lanes = lanes
        self._filters = filters
        self._pull: Pull | None = None
        self._interrupted = asyncio.Event()
        self._stopping = False
        self._poll_seconds = _STREAM_POLL_SECONDS
        self.lanes_known = False
        missing = "" if self._settings.makes_streams else if_missing
        self.hindrance = Hindrance("reading", stream, missing)
        self._members.on_change(self._lanes_changed)
        dependencies.pauses.on_change(lambda: self.interrupt("types were paused or resumed"))
        self._broker.on_disconnected(lambda: self.interrupt("the broker is unavailable"))

    async def run(
        self, read: Callable[[], Awaitable[None]], on_missing: Callable[[], Awaitable[None]]
    ) -> None:
        """Call `read` again and again until `stop`, or until cancelled.

        `read` returns or raises Reopen when something has changed, and raises StreamGone while
        there is no stream; `on_missing` is called then.
        """
        pause = 0.05
        while not self._stopping:
            try:
                # The waits are short so that a stop is noticed while the broker is unavailable.
                if not await wait_at_most(self._broker.connected, 0.2):
                    continue
                if not await wait_at_most(self._members.joined, 0.2):
                    continue
                await self._read_or_wait(read, on_missing)
                pause = 0.05
                continue
            except (Reopen, PullBroken) as error:
                _log.debug("consumer closed; recreating it", stream=self._stream, reason=str(error))
                pause = 0.02
            except PositionMoved:
                pause = 0.02
            except (DatabaseDown, ConnectionLost) as error:
                self.lanes_known = False
                _log.warning(
                    "reading paused: database unavailable; retrying",
                    stream=self._stream,
                    error=str(error),
                )
                pause = min(1.0, pause * 2)
            except Exception as error:
                self.lanes_known = False
                if not self.hindrance.explains(error):
                    _log.warning("reading failed; retrying", stream=self._stream, error=repr(error))
                pause = min(1.0, pause * 2)
            await self.sleep(pause)

    @property
    def is_current(self) -> bool:
        """Whether `read` may continue: it was neither stopped nor interrupted since it began."""
        return not self._stopping and not self._interrupted.is_set()

    def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._stopping = True
        self.interrupt("shutting down")

    def interrupt(self, reason: str) -> None:
        """Let `read` begin again after the batch in hand. Call on the event loop."""
        self._interrupted.set()
        if self._pull:
            self._pull.interrupt(reason)

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`, or until interrupted."""
        await wait_at_most(self._interrupted, seconds)

    def stream_found(self) -> None:
        """Note that the stream exists and can be read."""
        self._poll_seconds = _STREAM_POLL_SECONDS
        self.hindrance.over()

    @asynccontextmanager
    async def open_pull(self, subjects: list[str], start: int) -> AsyncIterator[Pull]:
        """Create a consumer that begins at a stream sequence; delete it at the end."""
        max_bytes = max(PULL_BYTES, 2 * self._settings.event_max_bytes)
        pull = Pull(self._broker.client, self._stream, self._settings.batch_max_events, max_bytes)
        self._pull = pull
        try:
            await pull.open(subjects, start)
            yield pull
        finally:
            self._pull = None
            await pull.close()

    async def _read_or_wait(
        self, read: Callable[[], Awaitable[None]], on_missing: Callable[[], Awaitable[None]]
    ) -> None:
        """Read once; if the stream is missing, wait before the next attempt."""
        self._interrupted.clear()
        try:
            async with self.hindrance.seen(self._broker.client, self._filters):
                await read()
        except StreamGone:
            await on_missing()
            await self.sleep(self._poll_seconds)
            self._poll_seconds = min(_STREAM_POLL_MAX_SECONDS, 2 * self._poll_seconds)

    def _lanes_changed(self) -> None:
        """Interrupt reading if this member must read other lanes."""
        if self._lanes.must_change():
            self.interrupt("the lanes have changed")
