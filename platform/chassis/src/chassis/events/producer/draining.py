"""Drains the outbox: events are numbered, sent and recorded as sent until none is left."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from chassis.database import Database, Transaction
from chassis.events.jetstream.client import JetStreamClient
from chassis.events.producer import outbox
from chassis.events.producer.counters import Counters, lock_counters, number_new, record_sent
from chassis.events.producer.outbox import NumberedEvent
from chassis.events.producer.sending import Sender
from chassis.telemetry import metrics

__all__ = ["OutboxDrain"]

_BATCH_BYTES = 4 * 1024 * 1024
# At least this many events are read at once, even if batches are smaller.
_MIN_ROWS = 50


class OutboxDrain:
    """Rounds of one relay. `is_due` tells whether outbox and stream must be compared again, by the
    monotonic time of the last comparison."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        batch_events: int,
        is_due: Callable[[float], bool],
    ) -> None:
        self._database = database
        self._sender = sender
        self._batch_events = batch_events
        self._is_due = is_due
        self.rank = 0
        """The highest rank that this relay has seen the database give."""

    async def has_unsent(self) -> bool:
        """Whether any event is unsent."""
        return await self._database.read(lambda tx: outbox.has_unsent(tx.session))

    async def run(self, client: JetStreamClient) -> bool:
        """Send what the outbox holds, until it is empty or a comparison is due.

        Return True if the database is older than before, because a backup was restored under this
        relay: then outbox and stream must be compared.

        Raises:
            StreamRefuses, WrongLastSequence, BatchIncomplete, StreamGone, TimeoutError,
            nats.errors.Error: as Sender.send.
        """
        began = time.monotonic()
        rows, counters = await self._database.transaction(partial(self._advance, sent=None))
        # A comparison that is due comes first, however many events are left.
        while rows and not self._is_due(began):
            stored = await self._sender.send(client, rows, counters)
            sent = None
            if stored:
                rows = rows[: stored[0]]
                sent = (rows[-1].rank, stored[1])
                _count_published(rows)
            else:
                # The sender has revoked the ranks of the unsent events.
                self.rank = counters.sent_rank
            rows, counters = await self._database.transaction(partial(self._advance, sent=sent))
        return counters.rank < self.rank

    def _advance(
        self, tx: Transaction, sent: tuple[int, int] | None
    ) -> tuple[list[NumberedEvent], Counters]:
        """Record what was acknowledged, number new events and read the next ones, in one commit."""
        session = tx.session
        counters = lock_counters(session)
        if counters.rank < self.rank:
            # A backup of the database was restored while this relay ran: send nothing before outbox
            # and stream were compared.
            return [], counters
        if sent:
            rank, sequence = sent
            record_sent(session, rank, sequence)
            counters = replace(counters, sent_rank=rank, sent_sequence=sequence)
        counters = number_new(session, counters, self._batch_events)
        self.rank = counters.rank
        if counters.rank == counters.sent_rank:
            return [], counters
        limit = min(self._batch_events, max(_MIN_ROWS, self._sender.size.now))
        rows = outbox.unsent_after(session, counters.sent_rank, limit, _BATCH_BYTES)
        return rows, counters


def _count_published(rows: Sequence[NumberedEvent]) -> None:
    """Add the events to the metric of published events, by type."""
    for type, count in Counter(row.subject.rpartition(".")[0] for row in rows).items():
        metrics.EVENTS_PUBLISHED.labels(type).inc(count)
