"""Reads one stream for a member: from its positions, again and again, until it is stopped.

Whenever anything is in doubt the positions are read again and a new consumer is made.
"""

import asyncio
from abc import ABC, abstractmethod

import structlog

from chassis.database import ConnectionLost, Database, DatabaseDown
from chassis.event_settings import EventSettings
from chassis.events.consumer.held_lanes import HeldLanes
from chassis.events.consumer.positions import PositionMoved
from chassis.events.consumer.pull import Pull, PullBroken
from chassis.events.consumer.suspicions import Suspicions
from chassis.events.jetstream.api import StreamGone
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.hindrance import Hindrance
from chassis.events.membership.members import Members
from chassis.events.waiting import wait_at_most
from chassis.events.wire import transport

__all__ = ["Reopen", "StreamReader"]

_log = structlog.get_logger(__name__)
_PULL_BYTES = 8 * 1024 * 1024
_STREAM_POLL_SECONDS = 0.25
_STREAM_POLL_MOST_SECONDS = 2.0


class Reopen(Exception):
    """Read the positions again and make a new consumer."""


class StreamReader(ABC):
    """One stream's consumer within a member, whatever is read there."""

    def __init__(
        self,
        stream: str,
        *,
        database: Database,
        broker: Broker,
        members: Members,
        settings: EventSettings,
        marked_as: str = "",
    ) -> None:
        self.stream = stream
        self._database = database
        self._broker = broker
        self._members = members
        self._settings = settings
        self._suspicions = Suspicions(settings.batch_max_events)
        # Readers of one stream mark lanes of their own.
        self._lanes = HeldLanes(marked_as or stream, database, members, self._suspicions)
        self._pull: Pull | None = None
        self._changed = asyncio.Event()
        self._stopping = False
        self._stream_poll = _STREAM_POLL_SECONDS
        self._has_read = False
        self._filters_wanted: list[str] = []
        missing = "" if settings.makes_streams else self._missing
        self.hindrance = Hindrance("reading", stream, missing)
        members.on_change(self._lanes_changed)
        broker.on_disconnected(lambda: self._interrupt("the broker is away"))

    async def run(self) -> None:
        """Read until `stop`, or until cancelled."""
        pause = 0.05
        while not self._stopping:
            try:
                # Not for ever: a service must end though the broker is away.
                if not await wait_at_most(self._broker.connected, 0.2):
                    continue
                if not await wait_at_most(self._members.joined, 0.2):
                    continue
                await self._read_or_wait()
                pause = 0.05
                continue
            except (Reopen, PullBroken) as error:
                _log.debug("consumer closed; recreating it", stream=self.stream, reason=str(error))
                pause = 0.02
            except PositionMoved:
                pause = 0.02
            except (DatabaseDown, ConnectionLost) as error:
                self._has_read = False
                _log.warning(
                    "reading paused: database unavailable; retrying",
                    stream=self.stream,
                    error=str(error),
                )
                pause = min(1.0, pause * 2)
            except Exception as error:
                self._has_read = False
                if not self.hindrance.explains(error):
                    _log.warning("reading failed; retrying", stream=self.stream, error=repr(error))
                pause = min(1.0, pause * 2)
            await self._sleep(pause)

    async def stop(self) -> None:
        """Finish the batch in hand, then let the lanes go."""
        self._stopping = True
        self._interrupt("shutting down")

    async def let_go(self) -> None:
        """Unmark the lanes: others may take them over at once. Call when `run` has ended."""
        await self._lanes.let_go()

    @property
    def reading(self) -> frozenset[int]:
        """The lanes it reads."""
        return self._lanes.reading

    @property
    def reads(self) -> bool:
        """Whether it knows of its lanes which it reads, and which are stopped."""
        return self._has_read and self._broker.connected.is_set()

    @abstractmethod
    async def _read(self) -> None:
        """Read from the positions on, until something has changed.

        Raises:
            StreamGone: there is no stream yet.
        """

    @property
    def _missing(self) -> str:
        """What is to be done where the stream is missing and no service makes it."""
        return transport.missing_stream(self.stream, self.stream)

    @abstractmethod
    async def _no_stream(self) -> None:
        """There is no stream: what is to be done about it."""

    @abstractmethod
    def _lanes_changed(self) -> None:
        """The member's share of lanes is another one."""

    async def _read_or_wait(self) -> None:
        try:
            async with self.hindrance.seen(self._broker.client, self._filters_wanted):
                await self._read()
        except StreamGone:
            await self._no_stream()
            await self._sleep(self._stream_poll)
            self._stream_poll = min(_STREAM_POLL_MOST_SECONDS, 2 * self._stream_poll)

    def _stream_is_there(self) -> None:
        self._stream_poll = _STREAM_POLL_SECONDS
        self.hindrance.over()

    def _new_pull(self) -> Pull:
        most = max(_PULL_BYTES, 2 * self._settings.event_max_bytes)
        return Pull(self._broker.client, self.stream, self._settings.batch_max_events, most)

    def _interrupt(self, why: str) -> None:
        self._changed.set()
        if self._pull:
            self._pull.interrupt(why)

    async def _sleep(self, seconds: float) -> None:
        """Until then, or until something has changed since the last reading began."""
        await wait_at_most(self._changed, seconds)
