"""The relay: numbers the events of the outbox and publishes them in the order of their ranks.

The stream always holds a prefix of the rank order, whichever replica relays, because each event
names the sequence at which it expects the stream to end, and no event of a batch is stored from a
refused one on.
"""

import asyncio
from collections.abc import Callable

import structlog
from nats.aio.client import Client

from chassis.database import Database
from chassis.event_settings import EventSettings
from chassis.events.jetstream.api import (
    BatchIncomplete,
    StreamGone,
    WrongLastSequence,
)
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.ordered_batch import BATCH_MAX, BatchPublisher
from chassis.events.jetstream.owned_stream import LaneCountChanged
from chassis.events.jetstream.stream_drift import ADDED_BYTES
from chassis.events.producer.draining import OutboxDrain
from chassis.events.producer.leadership import Leadership
from chassis.events.producer.outbox_cleanup import Cleaner
from chassis.events.producer.reconciling import Reconciler
from chassis.events.producer.sending import Sender, StreamRefuses
from chassis.events.waiting import end, wait_at_most

__all__ = ["RECORD_SECONDS", "REFUSED_SECONDS", "STANDBY_SECONDS", "Relay"]

_log = structlog.get_logger(__name__)
STANDBY_SECONDS = 1.0
"""Pause between two attempts of a standby to get the relay lock."""
_RETRY_SECONDS = 0.05
"""Pause after the first failure of the relay; it doubles with each further one in a row."""
_DRAIN_RETRY_SECONDS = 0.01
"""Pause after the stream refused a batch for the first time; it doubles, too."""
_MAX_RETRY_SECONDS = 1.0
_FLUSH_SECONDS = 0.05
RECORD_SECONDS = 0.25
"""Pause after which sent events are recorded by themselves, because no others have followed."""
REFUSED_SECONDS = 5.0
"""Maximum pause before the next attempt, while the stream refuses all events."""


class BrokerTooSmall(Exception):
    """The broker would refuse the largest event that the platform allows."""


class Relay:
    """Moves a service's outbox into its stream while this replica is the one that relays.

    `uses_lock` makes it wait for the relay lock of the database, so that only one replica works.
    `on_fatal` is called when it can never work as it is configured.
    """

    def __init__(
        self,
        database: Database,
        *,
        stream: str,
        types: tuple[str, ...],
        nats_url: str,
        settings: EventSettings,
        on_fatal: Callable[[Exception], None] = lambda _error: None,
        uses_lock: bool = True,
        batch_events: int = BATCH_MAX,
    ) -> None:
        self._stream = stream
        self._nats = NatsOptions.of(nats_url, settings, stream)
        self._settings = settings
        self._on_fatal = on_fatal
        self._leadership = Leadership(database, stream, uses_lock=uses_lock)
        self._sender = Sender(database, stream, batch_events)
        self.reconciler = Reconciler(database, stream, types, settings)
        self.drain = OutboxDrain(database, self._sender, batch_events, self.reconciler.is_due)
        self._cleaner = Cleaner(database, settings)
        self._woken = asyncio.Event()
        self._must_reconcile = False
        self.leading = False

    @property
    def hindrance(self) -> str | None:
        """Why nothing, or not every event, can be published; None while all can."""
        return self.reconciler.hindrance.reason or self._sender.refusing

    def wake(self) -> None:
        """Tell the relay that the outbox has events. Call on the event loop."""
        self._woken.set()

    def reconcile(self) -> None:
        """Make the relay compare outbox and stream before it continues. Call on the event loop."""
        self._must_reconcile = True
        self._woken.set()

    async def run(self) -> None:
        """Relay until cancelled, whenever this replica may lead."""
        pause = _RETRY_SECONDS
        try:
            while True:
                try:
                    if not await self._leadership.may_lead():
                        self.reconciler.hindrance.reason = None  # The leader reports it.
                        await asyncio.sleep(STANDBY_SECONDS)
                        continue
                    await self._lead()
                    pause = _RETRY_SECONDS
                except (LaneCountChanged, BrokerTooSmall) as error:
                    self._on_fatal(error)
                    return
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    if not self.reconciler.hindrance.explains(error):
                        _log.warning(
                            "relay failed; retrying", error=_first_line(error), retry_seconds=pause
                        )
                    await asyncio.sleep(pause)
                    pause = min(_MAX_RETRY_SECONDS, pause * 2)
        finally:
            await self._leadership.release()

    async def flushed(self) -> None:
        """Wait until no event is unsent. Events that are set apart do not count."""
        while await self.drain.has_unsent():
            self.wake()
            await asyncio.sleep(_FLUSH_SECONDS)

    async def _lead(self) -> None:
        """Connect to the broker, and drain the outbox until another replica leads."""
        async with connection(self._nats, f"{self._stream}-relay") as client:
            self._check_max_payload(client)
            publisher = BatchPublisher(client)
            cleaning = asyncio.create_task(self._cleaner.run())
            try:
                await self._reconcile(client)
                self.leading = True
                pause = _DRAIN_RETRY_SECONDS
                while not await self._is_standby():
                    try:
                        await self._drain_if_needed(publisher)
                        pause = _DRAIN_RETRY_SECONDS
                    except (WrongLastSequence, BatchIncomplete, StreamGone) as error:
                        if not self.reconciler.explains(error):
                            _log.info(
                                "stream does not end as expected; comparing it with the outbox",
                                error=_first_line(error),
                            )
                        self._must_reconcile = True
                        self._leadership.give_way()
                        await asyncio.sleep(pause)
                        pause = min(_MAX_RETRY_SECONDS, pause * 2)
                    except StreamRefuses as error:
                        # The stream's limits, which are logged below, may have changed.
                        await self._reconcile(client)
                        self._sender.say_refusing(_first_line(error), self.reconciler.drift)
                        await asyncio.sleep(pause)
                        pause = min(REFUSED_SECONDS, pause * 2)
                    if self._must_reconcile or self.reconciler.is_due():
                        self._must_reconcile = False
                        await self._reconcile(client)
                        continue
                    await self._wait()
            finally:
                self.leading = False
                await end([cleaning])
                await self._record_at_end()

    async def _wait(self) -> None:
        """Wait for a wake or the time of a look; meanwhile, record what was sent.

        If a wake comes soon, the next drain records it, in a commit that it needs anyway.
        """
        seconds = self._settings.relay_sweep_seconds
        if self.drain.has_unrecorded:
            if await wait_at_most(self._woken, min(RECORD_SECONDS, seconds)):
                return
            await self.drain.record()
        await wait_at_most(self._woken, seconds)

    async def _record_at_end(self) -> None:
        """Record what was sent before this replica stops to lead, if the database allows it."""
        try:
            await self.drain.record()
        except Exception as error:
            # The next relay finds the stream's end, and needs no record.
            _log.info("sent events were not recorded", error=_first_line(error))

    async def _is_standby(self) -> bool:
        """Whether another replica leads now. It is looked up only if no event is known to wait."""
        return not self._woken.is_set() and not await self._leadership.may_lead()

    async def _drain_if_needed(self, publisher: BatchPublisher) -> None:
        """Drain the outbox if the relay was woken, or if a look finds unsent events.

        The look is there because a wake may be lost, and costs less than a drain's transaction.
        """
        woken = self._woken.is_set()
        self._woken.clear()
        if not (woken or await self.drain.has_unsent()):
            return
        if await self.drain.run(publisher):
            self._must_reconcile = True

    async def _reconcile(self, client: Client) -> None:
        """Compare outbox and stream, and let drain and clean-up continue from the result."""
        # Events that the stream has lost are known by this record.
        await self.drain.record()
        compared = await self.reconciler.compare(client)
        ranks_changed = compared.lifted or compared.rank < self.drain.rank
        self._cleaner.set_stream(compared.state, ranks_changed=ranks_changed)
        self._sender.allow_batches(allowed=bool(compared.state.config.get("allow_batched")))
        self.drain.rank = compared.rank

    def _check_max_payload(self, client: Client) -> None:
        """Raise BrokerTooSmall if the broker refuses events of the maximum size."""
        most = self._settings.event_max_bytes + ADDED_BYTES
        if client.max_payload < most:
            raise BrokerTooSmall(
                f"events of up to {self._settings.event_max_bytes} bytes (APP_EVENT_MAX_BYTES) "
                f"do not pass a broker with max_payload {client.max_payload}: raise its "
                f"max_payload to {most} or more, or lower APP_EVENT_MAX_BYTES to "
                f"{max(0, client.max_payload - ADDED_BYTES)} or less"
            )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
