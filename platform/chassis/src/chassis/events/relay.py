"""The relay: numbers what the outbox holds, and publishes it by rank.

The stream is always a prefix of the rank order, whoever relays: each atomic batch says at which
sequence it expects the stream to end. Recovery is one question: where does the stream end?
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import nats
import structlog
from nats.aio.client import Client

from chassis.database import Database, Transaction
from chassis.database.leadership import Lock
from chassis.events import outbox, wire
from chassis.events.ids import uuid7
from chassis.events.outbox import Counters, Held, Outgoing
from chassis.events.owned_stream import LaneCountChanged, ensure_stream
from chassis.events.settings import EventSettings
from chassis.events.streams import (
    BATCH_MAX,
    Stored,
    StreamGone,
    StreamState,
    WrongLastSequence,
    last_messages,
    last_stored,
    publish_batch,
    read_from,
)
from chassis.events.waiting import wait_at_most
from chassis.telemetry import metrics

__all__ = ["Relay"]

_log = structlog.get_logger(__name__)
_BATCH_BYTES = 4 * 1024 * 1024
_STANDBY_SECONDS = 1.0


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
        self._nats_url = nats_url
        self._settings = settings
        self._on_fatal = on_fatal
        self._alone = alone
        self._batch_events = batch_events
        self._woken = asyncio.Event()
        self._ask_again = False
        self._rank = 0
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
                if self._alone and not await asyncio.to_thread(lock.acquire):
                    await asyncio.sleep(_STANDBY_SECONDS)
                    continue
                try:
                    await self._lead(lock)
                    pause = 0.05
                except LaneCountChanged as error:
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
        # A connection of its own that never reconnects by itself and buffers nothing: what it
        # holds back would be written into a stream just made anew.
        client = await nats.connect(
            self._nats_url,
            allow_reconnect=False,
            connect_timeout=2,
            error_cb=_quiet,
            disconnected_cb=self._wake_on_loss,
            closed_cb=self._wake_on_loss,
            name=f"{self._stream}-relay",
        )
        try:
            asked = await self._ask(client)
            self.leading = True
            while True:
                self._woken.clear()
                try:
                    await self._drain(client)
                except (WrongLastSequence, StreamGone) as error:
                    _log.info("the stream is not where it was believed to be", error=_line(error))
                    self._ask_again = True
                if self._ask_again or time.monotonic() - asked > self._settings.relay_ask_seconds:
                    self._ask_again = False
                    asked = await self._ask(client)
                    continue
                woken = await wait_at_most(self._woken, self._settings.relay_sweep_seconds)
                if not woken and self._alone and not await asyncio.to_thread(lock.acquire):
                    return
                if not client.is_connected:
                    raise ConnectionError("the broker is away")
        finally:
            self.leading = False
            await client.close()

    async def _wake_on_loss(self) -> None:
        self._woken.set()

    # --- publishing -----------------------------------------------------------------------------

    async def _drain(self, client: Client) -> None:
        rows, counters = await self._database.transaction(partial(self._advance, sent=None))
        while rows:
            rows = _within_bytes(rows)
            sequence = await publish_batch(
                client,
                uuid7(),
                [_message(row, counters.generation) for row in rows],
                counters.sent_sequence,
            )
            sent = (rows[-1].rank, sequence)
            for row in rows:
                metrics.EVENTS_PUBLISHED.labels(row.subject.rpartition(".")[0]).inc()
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
        return outbox.unsent(session, counters.sent_rank, self._batch_events), counters

    # --- recovery -------------------------------------------------------------------------------

    async def _ask(self, client: Client) -> float:
        """Ask where the stream ends, and let the outbox go on from there."""
        state, drift = await ensure_stream(client, self._stream, self._types, self._settings)
        for line in drift:
            _log.warning("the stream differs from the settings", stream=self._stream, drift=line)
        last = await last_stored(client, self._stream) if state.messages else None
        known = await self._database.transaction(partial(self._reconcile, state=state, last=last))
        if not known and last:
            await self._lift(client, state, last)
        return time.monotonic()

    def _reconcile(self, tx: Transaction, state: StreamState, last: Stored | None) -> bool:
        """Take the stream's end as what was sent; false if the database doesn't know that end."""
        session = tx.session
        counters = outbox.lock_counters(session)
        self._rank = counters.rank
        if last is None:
            since = time.time() - self._settings.stream_max_age_seconds
            first = outbox.first_rank_since(session, since)
            rank = counters.rank if first is None else first - 1
        else:
            rank = int(wire.header(last.headers, wire.RANK) or 0)
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

    async def _lift(self, client: Client, state: StreamState, last: Stored) -> None:
        """An older or a new database under a living stream."""
        numbers = {
            stored.subject: int(wire.header(stored.headers, wire.NUMBER) or 0)
            for stored in await last_messages(client, self._stream, [">"])
        }
        counters, wanted = await self._database.transaction(
            lambda tx: (outbox.lock_counters(tx.session), outbox.unnumbered_ids(tx.session))
        )
        rank = int(wire.header(last.headers, wire.RANK) or 0)
        same = wire.header(last.headers, wire.GENERATION) == counters.generation
        # Under one generation ranks and sequences run side by side: what is unknown is the tail.
        start = max(1, state.last_sequence - (rank - counters.rank) + 1) if same else 1
        held: list[Held] = []
        unknown: list[str] = []
        async for stored in read_from(client, self._stream, start):
            event = _held(stored)
            if event.event_id in wanted:
                held.append(event)
            else:
                unknown.append(event.event_id)
        _log.warning(
            "the database is older than the stream: it does not know these events",
            stream=self._stream,
            events=len(unknown),
            first=unknown[:3],
            last=unknown[-3:],
        )
        generation = counters.generation if same else uuid7()

        def lift(tx: Transaction) -> None:
            now = outbox.lock_counters(tx.session)
            if now != counters:
                raise RuntimeError("the counters moved while the stream was read")
            lifted = outbox.lift(
                tx.session,
                counters,
                generation=generation,
                numbers=numbers,
                held=held,
                sequence=state.last_sequence,
                rank=rank,
            )
            self._rank = lifted.rank

        await self._database.transaction(lift)


def _is_ours(tx: Transaction, counters: Counters, rank: int, last: Stored) -> bool:
    """Whether the stream ends with an event that this database knows, or was lifted above."""
    generation = wire.header(last.headers, wire.GENERATION) or ""
    if generation != counters.generation:
        return generation < counters.generation and rank <= counters.base_rank
    if rank > counters.rank:
        return False
    return outbox.id_of_rank(tx.session, rank) in (None, wire.header(last.headers, "ce-id"))


def _held(stored: Stored) -> Held:
    return Held(
        wire.header(stored.headers, "ce-id") or "",
        stored.subject,
        int(wire.header(stored.headers, wire.NUMBER) or 0),
        int(wire.header(stored.headers, wire.RANK) or 0),
    )


def _message(row: Outgoing, generation: str) -> tuple[str, bytes, dict[str, str]]:
    headers: dict[str, str] = json.loads(row.headers)
    headers[wire.NUMBER] = wire.number_value(row.number)
    headers[wire.GENERATION] = generation
    headers[wire.RANK] = str(row.rank)
    return row.subject, row.data, headers


def _within_bytes(rows: list[Outgoing]) -> list[Outgoing]:
    """The first rows that come to no more than a batch may weigh; at least one."""
    total = 0
    for index, row in enumerate(rows):
        total += len(row.data) + len(row.headers)
        if total > _BATCH_BYTES and index:
            return rows[:index]
    return rows


async def _quiet(_error: Exception) -> None:
    """Connection errors show in what was being done; the client's own print says nothing more."""


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
