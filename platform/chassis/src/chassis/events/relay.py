"""The relay: numbers what the outbox holds, and publishes it by rank.

The stream is always a prefix of the rank order, whoever relays: each atomic batch says at which
sequence it expects the stream to end. Recovery is one question: where does the stream end?
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import structlog
from nats.aio.client import Client

from chassis.database import Database, Transaction
from chassis.database.leadership import Lock
from chassis.events import outbox, wire
from chassis.events.connection import connection
from chassis.events.ids import uuid7
from chassis.events.nats_options import NatsOptions
from chassis.events.outbox import Counters, Held, Outgoing
from chassis.events.owned_stream import LaneCountChanged, ensure_stream
from chassis.events.settings import EventSettings
from chassis.events.streams import (
    BATCH_MAX,
    BatchIncomplete,
    Stored,
    StreamGone,
    StreamState,
    WrongLastSequence,
    last_stored,
    publish_batch,
    read_from,
    stored_at,
)
from chassis.events.waiting import wait_at_most
from chassis.telemetry import metrics

__all__ = ["Relay"]

_log = structlog.get_logger(__name__)
_BATCH_BYTES = 4 * 1024 * 1024
_STANDBY_SECONDS = 1.0
# So long events wait for who holds the lock, before a standby sends them beside it.
_STUCK_SECONDS = 5.0
# What number, rank, generation and the batch's own headers add to an event, with room to spare.
_ADDED_BYTES = 1024
# So many lives of the counters before this one are named with each event.
_LINEAGE_MOST = 10


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
        self._nats = NatsOptions.of(nats_url, settings)
        self._settings = settings
        self._on_fatal = on_fatal
        self._alone = alone
        self._batch_events = batch_events
        self._woken = asyncio.Event()
        self._ask_again = False
        self._rank = 0
        self._progress = (0, 0.0)
        self._beside = False
        self.leading = False

    def wake(self) -> None:
        """There is something in the outbox. Call on the event loop."""
        self._woken.set()

    def ask(self) -> None:
        """Compare outbox and stream before going on. Call on the event loop."""
        self._ask_again = True
        self._woken.set()

    async def run(self) -> None:
        """Relay until cancelled, whenever this replica holds the lock."""
        lock = Lock(self._database.url, "relay")
        pause = 0.05
        try:
            while True:
                try:
                    if self._alone and not await self._may_lead(lock):
                        await asyncio.sleep(_STANDBY_SECONDS)
                        continue
                    await self._lead(lock)
                    pause = 0.05
                except (LaneCountChanged, BrokerTooSmall) as error:
                    self._on_fatal(error)
                    return
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    _log.warning("relay interrupted", error=_line(error), again_seconds=pause)
                    await asyncio.sleep(pause)
                    pause = min(1.0, pause * 2)
        finally:
            await asyncio.to_thread(lock.release)

    async def flushed(self) -> None:
        """Wait until nothing is unsent."""
        while await self._database.read(lambda tx: outbox.unsent_count(tx.session)):
            self.wake()
            await asyncio.sleep(0.02)

    async def _lead(self, lock: Lock) -> None:
        async with connection(self._nats, f"{self._stream}-relay") as client:
            self._check_size(client)
            try:
                asked = await self._ask(client)
                self.leading = True
                pause = 0.01
                while not await self._is_standby(lock):
                    try:
                        await self._drain_if_needed(client)
                        pause = 0.01
                    except (WrongLastSequence, BatchIncomplete, StreamGone) as error:
                        _log.info("the stream does not end where it should", error=_line(error))
                        self._ask_again, self._beside = True, False
                        await asyncio.sleep(pause)
                        pause = min(1.0, pause * 2)
                    due = time.monotonic() - asked > self._settings.relay_ask_seconds
                    if self._ask_again or due:
                        self._ask_again = False
                        asked = await self._ask(client)
                        continue
                    await wait_at_most(self._woken, self._settings.relay_sweep_seconds)
            finally:
                self.leading = False

    async def _is_standby(self, lock: Lock) -> bool:
        """Whether another replica is to send; asked before a round that nobody woke."""
        if not self._alone or self._woken.is_set():
            return False
        return not await self._may_lead(lock)

    async def _may_lead(self, lock: Lock) -> bool:
        if await asyncio.to_thread(lock.acquire):
            self._beside = False
            return True
        if not self._beside and await self._nobody_sends():
            _log.warning("who holds the lock sends nothing: sending beside it", stream=self._stream)
            self._beside = True
        return self._beside

    async def _nobody_sends(self) -> bool:
        """Whether events wait, and none is sent, for so long: who has the lock may stand still."""
        sent, waits = await self._database.read(
            lambda tx: (outbox.sent_rank(tx.session), outbox.has_unsent(tx.session))
        )
        before, since = self._progress
        if sent != before or not waits:
            self._progress = sent, time.monotonic()
            return False
        return time.monotonic() - since > _STUCK_SECONDS

    def _check_size(self, client: Client) -> None:
        most = self._settings.event_max_bytes + _ADDED_BYTES
        if client.max_payload < most:
            raise BrokerTooSmall(
                f"events of up to {self._settings.event_max_bytes} bytes (APP_EVENT_MAX_BYTES) "
                f"do not pass a broker with max_payload {client.max_payload}: raise its "
                f"max_payload to {most} or more, or lower APP_EVENT_MAX_BYTES to "
                f"{max(0, client.max_payload - _ADDED_BYTES)} or less"
            )

    # --- publishing -----------------------------------------------------------------------------

    async def _drain_if_needed(self, client: Client) -> None:
        """A look costs less than a transaction, and finds what nobody woke us for."""
        woken = self._woken.is_set()
        self._woken.clear()
        if woken or await self._database.read(lambda tx: outbox.has_unsent(tx.session)):
            await self._drain(client)

    async def _drain(self, client: Client) -> None:
        rows, counters = await self._database.transaction(partial(self._advance, sent=None))
        while rows:
            sequence = await publish_batch(
                client,
                uuid7(),
                [_message(row, counters) for row in rows],
                counters.sent_sequence,
            )
            sent = (rows[-1].rank, sequence)
            for type, count in Counter(row.subject.rpartition(".")[0] for row in rows).items():
                metrics.EVENTS_PUBLISHED.labels(type).inc(count)
            rows, counters = await self._database.transaction(partial(self._advance, sent=sent))

    def _advance(
        self, tx: Transaction, sent: tuple[int, int] | None
    ) -> tuple[list[Outgoing], Counters]:
        """Record what was acknowledged, number what is new, take what comes next: one commit."""
        session = tx.session
        counters = outbox.lock_counters(session)
        if counters.rank < self._rank:
            self._ask_again = True  # an older database was put in place under this relay
            return [], counters
        if sent:
            rank, sequence = sent
            outbox.record_sent(session, rank, sequence)
            counters = replace(counters, sent_rank=rank, sent_sequence=sequence)
        counters = outbox.number_new(session, counters, self._batch_events)
        self._rank = counters.rank
        if counters.rank == counters.sent_rank:
            return [], counters
        rows = outbox.unsent(session, counters.sent_rank, self._batch_events, _BATCH_BYTES)
        return rows, counters

    # --- recovery -------------------------------------------------------------------------------

    async def _ask(self, client: Client) -> float:
        """Ask where the stream ends, and let the outbox go on from there."""
        # What other versions have published here is sent too.
        others = await self._database.read(lambda tx: outbox.types(tx.session))
        types = sorted({*self._types, *others})
        state, drift = await ensure_stream(
            client, self._stream, types, self._settings, self._sent_rank
        )
        for line in drift:
            _log.warning("the stream differs from the settings", stream=self._stream, drift=line)
        last = await _last_of_ours(client, self._stream, state)
        known = await self._database.transaction(partial(self._reconcile, state=state, last=last))
        if not known and last:
            await self._lift(client, last, state.last_sequence)
        return time.monotonic()

    async def _sent_rank(self) -> int:
        return await self._database.read(lambda tx: outbox.sent_rank(tx.session))

    def _reconcile(self, tx: Transaction, state: StreamState, last: Stored | None) -> bool:
        """Take the stream's end as what was sent; false if the database doesn't know that end."""
        session = tx.session
        counters = outbox.lock_counters(session)
        self._rank = counters.rank
        if last is None:
            # What was never sent goes out however old it is.
            since = time.time() - self._settings.stream_max_age_seconds
            first = outbox.first_rank_since(session, since)
            rank = counters.sent_rank if first is None else min(counters.sent_rank, first - 1)
        else:
            rank = _rank(last)
            if not _is_ours(tx, counters, rank, last):
                return False
        if (rank, state.last_sequence) != (counters.sent_rank, counters.sent_sequence):
            if rank < counters.sent_rank:
                _log.warning(
                    "the stream lost events; they are sent again",
                    stream=self._stream,
                    events=counters.sent_rank - rank,
                )
            outbox.record_sent(session, rank, state.last_sequence)
        return True

    async def _lift(self, client: Client, last: Stored, end: int) -> None:
        """An older or a new database under a living stream, which ends at the sequence `end`."""
        counters, unsent = await self._database.transaction(_unsent_ids)
        same = _is_of(last, counters)
        known = same and await self._is_stored(client, counters)
        numbers: dict[str, int] = {}
        held: list[Held] = []
        unknown = _Named()
        read = 0
        async for stored in read_from(
            client, self._stream, counters.sent_sequence + 1 if known else 1
        ):
            read = stored.sequence
            if not _rank(stored):
                continue  # no relay has sent it
            event = _held(stored)
            numbers[event.subject] = max(event.number, numbers.get(event.subject, 0))
            if event.event_id in unsent:
                held.append(event)
            elif event.rank > counters.sent_rank or not _is_of(stored, counters):
                unknown.add(event.event_id)
        if read < last.sequence:
            raise RuntimeError("a copy of the stream that lags was read; it is read again")
        _log.warning(
            "the database is older than the stream: it does not know these events",
            stream=self._stream,
            events=unknown.count,
            first=unknown.first,
            last=list(unknown.last),
        )
        generation = counters.generation if same else uuid7()
        lineage = counters.lineage if same else _lineage(last, counters)

        def lift(tx: Transaction) -> None:
            now = outbox.lock_counters(tx.session)
            if now != counters:
                raise RuntimeError("the counters moved while the stream was read")
            lifted = outbox.lift(
                tx.session,
                counters,
                generation=generation,
                lineage=lineage,
                numbers=numbers,
                held=held,
                sequence=end,
                rank=_rank(last),
            )
            self._rank = lifted.rank

        await self._database.transaction(lift)

    async def _is_stored(self, client: Client, counters: Counters) -> bool:
        """Whether the stream holds, at its place, the last event recorded as sent."""
        if not counters.sent_sequence:
            return False
        stored = await stored_at(client, self._stream, counters.sent_sequence)
        return (
            stored is not None and _rank(stored) == counters.sent_rank and _is_of(stored, counters)
        )


@dataclass(slots=True)
class _Named:
    """How many, and a few of them by id."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=3))

    def add(self, id: str) -> None:
        self.count += 1
        self.last.append(id)
        if len(self.first) < 3:
            self.first.append(id)


def _unsent_ids(tx: Transaction) -> tuple[Counters, set[str]]:
    counters = outbox.lock_counters(tx.session)
    return counters, outbox.unsent_ids(tx.session, counters.sent_rank)


async def _last_of_ours(client: Client, stream: str, state: StreamState) -> Stored | None:
    """The last message that a relay has sent; None if there is none. Strangers' are passed over."""
    last = await last_stored(client, stream)  # the end of the stream may have been purged
    end = last.sequence if last else 0
    for sequence in range(end, max(state.first_sequence, 1) - 1, -1):
        stored = await stored_at(client, stream, sequence)
        if stored and _rank(stored):
            return stored
    return None


def _is_ours(tx: Transaction, counters: Counters, rank: int, last: Stored) -> bool:
    """Whether the stream ends with an event that this database knows, or was lifted above."""
    generation = wire.generation(last.headers)
    if generation != counters.generation:
        return generation in counters.lineage.split() and rank <= counters.base_rank
    if rank > counters.rank:
        return False
    return outbox.id_of_rank(tx.session, rank) in (None, wire.header(last.headers, "ce-id"))


def _held(stored: Stored) -> Held:
    id = wire.header(stored.headers, "ce-id") or ""
    return Held(id, stored.subject, wire.integer(stored.headers, wire.NUMBER), _rank(stored))


def _rank(stored: Stored) -> int:
    return wire.integer(stored.headers, wire.RANK)


def _is_of(stored: Stored, counters: Counters) -> bool:
    """Whether it was numbered by these counters."""
    return wire.generation(stored.headers) == counters.generation


def _lineage(last: Stored, counters: Counters) -> str:
    """The lives before one that begins now: those that the stream has seen, and this database's."""
    of_stream = (wire.generation(last.headers), *wire.lineage(last.headers))
    of_database = (counters.generation if counters.rank else "", *counters.lineage.split())
    names = dict.fromkeys(filter(None, (*of_stream, *of_database)))
    return " ".join(list(names)[:_LINEAGE_MOST])


def _message(row: Outgoing, counters: Counters) -> tuple[str, bytes, dict[str, str]]:
    headers = wire.relayed(
        row.headers,
        number=row.number,
        rank=row.rank,
        generation=counters.generation,
        lineage=counters.lineage,
    )
    return row.subject, row.data, headers


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
