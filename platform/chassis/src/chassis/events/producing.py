"""The producer's part of the event path: the relay, its wakes, and answers to consumers."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import structlog
from nats.aio.msg import Msg

from chassis.database import Database
from chassis.event_settings import EventSettings
from chassis.events.jetstream.broker import Broker
from chassis.events.membership.members import Members
from chassis.events.producer.relay import Relay
from chassis.events.producer.resender import Resender
from chassis.events.waiting import end
from chassis.events.wire import control_subjects
from chassis.events.wire.contracts import stream_of

__all__ = ["Producing"]

_log = structlog.get_logger(__name__)


class Producing:
    """Runs the relay while this replica is a member, and wakes it after each commit.

    If another replica relays, a message through the broker wakes that one.
    """

    def __init__(
        self,
        service: str,
        types: Sequence[str],
        *,
        database: Database,
        broker: Broker,
        members: Members,
        nats_url: str,
        settings: EventSettings,
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._database = database
        self._broker = broker
        self._members = members
        self._wake_subject = control_subjects.wake_subject(service)
        self._waking: set[asyncio.Task[None]] = set()
        self.relay = Relay(
            database,
            stream=stream_of(service),
            types=tuple(types),
            nats_url=nats_url,
            settings=settings,
            on_fatal=on_fatal,
        )
        broker.subscribe(self._wake_subject, self._on_wake)
        Resender(service, database, broker)

    def start(self) -> list[Coroutine[Any, Any, None]]:
        """Begin to listen to commits, and return the work to run in the background."""
        loop = asyncio.get_running_loop()
        self._database.on_published(partial(_call_soon, loop, self._wake_relays))
        return [self._relay_while_member()]

    async def flush(self, seconds: float) -> None:
        """Wait for at most `seconds` until the outbox is empty. The relay sends the rest later."""
        if not self._broker.connected.is_set() or self._members.refused:
            return
        try:
            await asyncio.wait_for(self.relay.flushed(), seconds)
        except Exception as error:
            _log.warning(
                "unsent events remain in the outbox at shutdown; they are sent later",
                error=str(error) or "out of time",
            )

    @property
    def hindrance(self) -> str | None:
        """Why nothing, or not every event, can be published; None while all can."""
        return self.relay.hindrance

    async def _relay_while_member(self) -> None:
        """Relay only while the membership admits this replica's database.

        Two databases that publish into one stream would overtake each other's numbers forever.
        """
        while True:
            await self._members.joined.wait()
            relaying = asyncio.create_task(self.relay.run())
            barred = asyncio.create_task(self._members.barred.wait())
            try:
                await asyncio.wait({relaying, barred}, return_when=asyncio.FIRST_COMPLETED)
                if relaying.done():
                    return relaying.result()
            finally:
                await end([relaying, barred])

    def _wake_relays(self) -> None:
        """Wake the relay that leads. It runs on the event loop, after a commit on a thread."""
        self.relay.wake()
        if self._broker.connected.is_set() and not self.relay.leading:
            waking = asyncio.create_task(self._broker.client.publish(self._wake_subject, b""))
            # The reference is kept because asyncio holds its tasks weakly.
            self._waking.add(waking)
            waking.add_done_callback(self._wake_sent)

    def _wake_sent(self, waking: asyncio.Task[None]) -> None:
        """Drop the reference to a sent wake, and ignore its failure."""
        self._waking.discard(waking)
        if not waking.cancelled():
            # The error is read so that asyncio does not log it: without a wake, the relay polls.
            waking.exception()

    async def _on_wake(self, message: Msg) -> None:
        """Wake this replica's relay, or make it compare stream and outbox, as a message asks."""
        if message.data == control_subjects.RECONCILE:
            self.relay.reconcile()
        else:
            self.relay.wake()


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Make a call on the event loop, from any thread."""
    with contextlib.suppress(RuntimeError):  # The loop is closed, so no relay runs.
        loop.call_soon_threadsafe(call)
