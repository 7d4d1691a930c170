"""The relay: numbers what the outbox holds, and publishes it by rank.

The stream is always a prefix of the rank order, whoever relays: each atomic batch says at which
sequence it expects the stream to end.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog
from nats.aio.client import Client

from chassis.database import Database, Transaction
from chassis.event_settings import EventSettings
from chassis.events.jetstream.api import (
    BatchIncomplete,
    JetStreamError,
    StreamGone,
    WrongLastSequence,
)
from chassis.events.jetstream.atomic_batch import BATCH_MAX
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.hindrance import Hindrance
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.owned_stream import LaneCountChanged
from chassis.events.jetstream.stream_drift import ADDED_BYTES
from chassis.events.producer import outbox
from chassis.events.producer.leadership import Leadership
from chassis.events.producer.outbox import Counters, Outgoing
from chassis.events.producer.outbox_cleanup import Cleaner
from chassis.events.producer.recovery import Recovery
from chassis.events.producer.sending import Sender, StreamRefuses
from chassis.events.waiting import end, wait_at_most
from chassis.events.wire import transport
from chassis.events.wire.contracts import subjects_of
from chassis.telemetry import metrics

__all__ = ["Relay"]

_log = structlog.get_logger(__name__)
_BATCH_BYTES = 4 * 1024 * 1024
# So many events are read at once, however few go into a batch.
_ROWS_LEAST = 50
_STANDBY_SECONDS = 1.0
_FLUSH_SECONDS = 0.05
_REFUSED_SECONDS = 5.0


class BrokerTooSmall(Exception):
    """The broker would refuse the largest event the platform allows."""


class Relay:
    """Moves a service's outbox into its stream; one replica at a time, to save work."""

    def __init__(
        self,
        database: Database,
        *,
        stream: str,
        types: tuple[str, ...],
        nats_url: str,
        settings: EventSettings,
        on_fatal: Callable[[Exception], None] = lambda _error: None,
        alone: bool = True,
        batch_events: int = BATCH_MAX,
    ) -> None:
        self._database = database
        self._stream = stream
        self._types = types
        self._nats = NatsOptions.of(nats_url, settings, stream)
        self._settings = settings
        self._on_fatal = on_fatal
        self._batch_events = batch_events
        self._leadership = Leadership(database, stream, locks=alone)
        self._sender = Sender(database, stream, batch_events)
        self._recovery = Recovery(database, stream, types, settings)
        self._cleaner = Cleaner(database, settings)
        self._woken = asyncio.Event()
        self._reconcile_again = False
        self._rank = 0
        self.leading = False
        self.drift: tuple[str, ...] = ()
        """Where the stream differs from what it should be, as this replica last saw it."""
        missing = "" if settings.makes_streams else transport.missing_stream(stream, stream)
        self.hindrance = Hindrance("publishing", stream, missing)

    @property
    def refusing(self) -> str | None:
        """Why the stream takes nothing at the moment, if it does not."""
        return self._sender.refusing

    def wake(self) -> None:
        """There is something in the outbox. Call on the event loop."""
        self._woken.set()

    def reconcile(self) -> None:
        """Compare outbox and stream before going on. Call on the event loop."""
        self._reconcile_again = True
        self._woken.set()

    async def run(self) -> None:
        """Relay until cancelled, whenever this replica holds the lock."""
        pause = 0.05
        try:
            while True:
                try:
                    if not await self._leadership.may_lead():
                        self.hindrance.reason = None  # the replica that leads knows
                        await asyncio.sleep(_STANDBY_SECONDS)
                        continue
                    await self._lead()
                    pause = 0.05
                except (LaneCountChanged, BrokerTooSmall) as error:
                    self._on_fatal(error)
                    return
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    if not self.hindrance.explains(error):
                        _log.warning(
                            "relay failed; retrying", error=_line(error), retry_seconds=pause
                        )
                    await asyncio.sleep(pause)
                    pause = min(1.0, pause * 2)
        finally:
            await self._leadership.release()

    async def flushed(self) -> None:
        """Wait until nothing is unsent. What is set apart stays."""
        while await self._has_unsent():
            self.wake()
            await asyncio.sleep(_FLUSH_SECONDS)

    async def _has_unsent(self) -> bool:
        return await self._database.read(lambda tx: outbox.has_unsent(tx.session))

    async def _lead(self) -> None:
        async with connection(self._nats, f"{self._stream}-relay") as client:
            self._check_size(client)
            cleaning = asyncio.create_task(self._cleaner.run())
            try:
                reconciled_at = await self._reconcile(client)
                self.leading = True
                pause = 0.01
                while not await self._is_standby():
                    try:
                        await self._drain_if_needed(client)
                        pause = 0.01
                    except (WrongLastSequence, BatchIncomplete, StreamGone) as error:
                        if not self._is_lack(error):
                            _log.info(
                                "stream does not end as expected; comparing it with the outbox",
                                error=_line(error),
                            )
                        self._reconcile_again = True
                        self._leadership.give_way()
                        await asyncio.sleep(pause)
                        pause = min(1.0, pause * 2)
                    except StreamRefuses as error:
                        reconciled_at = await self._reconcile(client)  # what limits it has now
                        self._sender.say_refusing(_line(error), self.drift)
                        await asyncio.sleep(pause)
                        pause = min(_REFUSED_SECONDS, pause * 2)
                    if self._reconcile_again or self._is_due(reconciled_at):
                        self._reconcile_again = False
                        reconciled_at = await self._reconcile(client)
                        continue
                    await wait_at_most(self._woken, self._settings.relay_sweep_seconds)
            finally:
                self.leading = False
                await end([cleaning])

    def _is_due(self, reconciled_at: float) -> bool:
        # In time to see when events were sent, before the stream forgets them.
        settings = self._settings
        often = min(settings.relay_reconcile_seconds, settings.stream_max_age_seconds / 4)
        if self.hindrance.reason is not None:
            often = min(often, settings.relay_sweep_seconds)
        return time.monotonic() - reconciled_at > often

    async def _is_standby(self) -> bool:
        """Whether another replica is to send; looked at before a round that nobody woke."""
        return not self._woken.is_set() and not await self._leadership.may_lead()

    def _check_size(self, client: Client) -> None:
        most = self._settings.event_max_bytes + ADDED_BYTES
        if client.max_payload < most:
            raise BrokerTooSmall(
                f"events of up to {self._settings.event_max_bytes} bytes (APP_EVENT_MAX_BYTES) "
                f"do not pass a broker with max_payload {client.max_payload}: raise its "
                f"max_payload to {most} or more, or lower APP_EVENT_MAX_BYTES to "
                f"{max(0, client.max_payload - ADDED_BYTES)} or less"
            )

    # --- publishing -----------------------------------------------------------------------------

    async def _drain_if_needed(self, client: Client) -> None:
        """A look costs less than a transaction, and finds what nobody woke us for."""
        woken = self._woken.is_set()
        self._woken.clear()
        if woken or await self._has_unsent():
            await self._drain(client)

    async def _drain(self, client: Client) -> None:
        began = time.monotonic()
        rows, counters = await self._database.transaction(partial(self._advance, sent=None))
        while rows and not self._is_due(began):  # however much there is, it is reconciled
            stored = await self._sender.send(client, rows, counters)
            sent = None
            if stored:
                rows = rows[: stored[0]]
                sent = (rows[-1].rank, stored[1])
                self._count(rows)
            else:
                self._rank = counters.sent_rank  # ranks were taken back
            rows, counters = await self._database.transaction(partial(self._advance, sent=sent))

    @staticmethod
    def _count(rows: Sequence[Outgoing]) -> None:
        for type, count in Counter(row.subject.rpartition(".")[0] for row in rows).items():
            metrics.EVENTS_PUBLISHED.labels(type).inc(count)

    def _advance(
        self, tx: Transaction, sent: tuple[int, int] | None
    ) -> tuple[list[Outgoing], Counters]:
        """Record what was acknowledged, number what is new, take what comes next: one commit."""
        session = tx.session
        counters = outbox.lock_counters(session)
        if counters.rank < self._rank:
            self._reconcile_again = True  # an older database was put in place under this relay
            return [], counters
        if sent:
            rank, sequence = sent
            outbox.record_sent(session, rank, sequence)
            counters = replace(counters, sent_rank=rank, sent_sequence=sequence)
        counters = outbox.number_new(session, counters, self._batch_events)
        self._rank = counters.rank
        if counters.rank == counters.sent_rank:
            return [], counters
        limit = min(self._batch_events, max(_ROWS_LEAST, self._sender.size.now))
        rows = outbox.unsent(session, counters.sent_rank, limit, _BATCH_BYTES)
        return rows, counters

    async def _reconcile(self, client: Client) -> float:
        """Compare outbox and stream; when that was, in monotonic seconds."""
        async with self.hindrance.seen(client, [subjects_of(type) for type in self._types]):
            compared = await self._recovery.compare(client)
        self.hindrance.over(self._lack(compared.lacks))
        anew = compared.lifted or compared.rank < self._rank
        self._cleaner.compared(compared.state, anew=anew)
        self._rank = compared.rank
        if compared.drift != self.drift:
            for line in compared.drift:
                _log.warning(
                    "stream settings put events at risk; correct them",
                    stream=self._stream,
                    drift=line,
                )
            if not compared.drift:
                _log.info("stream settings are correct again", stream=self._stream)
            self.drift = compared.drift
        return time.monotonic()

    def _is_lack(self, error: JetStreamError) -> bool:
        """Whether a batch is refused for a subject that the stream is known to lack."""
        known = self.hindrance.reason is not None
        return known and isinstance(error, (BatchIncomplete, StreamGone))

    def _lack(self, subjects: Sequence[str]) -> str | None:
        """Why events of some types, and those behind them, wait for `broker apply`, if they do."""
        if not subjects:
            return None
        return (
            f"stream {self._stream!r} lacks {', '.join(subjects)}: "
            f"`python -m {self._stream} broker apply`, with the service's database, adds them"
        )


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
