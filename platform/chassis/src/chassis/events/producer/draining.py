"""Drains the outbox: events are numbered, sent and recorded as sent until none is left.

A round records the events of the round before as sent. If no round follows soon, the relay lets the
last events be recorded by themselves. A relay that dies before it has recorded them has lost
nothing, because the next one looks up the stream's end.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chassis.database import Database, Transaction
from chassis.events.jetstream.ordered_batch import BatchPublisher
from chassis.events.producer import outbox
from chassis.events.producer.counters import Counters, lock_counters, number_new, record_sent
from chassis.events.producer.outbox import NumberedEvent
from chassis.events.producer.sending import Sender
from chassis.events.wire.contracts import type_of_subject
from chassis.telemetry import metrics

__all__ = ["OutboxDrain"]

_BATCH_BYTES = 4 * 1024 * 1024
# At least this many events are read at once, even if batches are smaller.
_MIN_ROWS = 50


@dataclass(frozen=True, slots=True)
class _BatchEnd:
    """The last event of a batch that the stream has stored."""

    generation: str
    rank: int
    sequence: int


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
        self._sent: _BatchEnd | None = None
        self.rank = 0
        """The highest rank that this relay has seen the database give."""

    @property
    def has_unrecorded(self) -> bool:
        """Whether events were sent that are not recorded as sent yet."""
        return self._sent is not None

    async def has_unsent(self) -> bool:
        """Whether any event is unsent, or not recorded as sent."""
        return await self._database.read(lambda tx: outbox.has_unsent(tx.session))

    async def run(self, publisher: BatchPublisher) -> bool:
        """Send what the outbox holds, until it is empty or a comparison is due.

        Return True if the database is older than before, because a backup was restored under this
        relay: then outbox and stream must be compared.

        Raises:
            StreamRefuses, WrongLastSequence, BatchIncomplete, StreamGone, TimeoutError,
            nats.errors.Error: as Sender.send.
        """
        began = time.monotonic()
        rows, counters = await self._advance()
        # A comparison that is due comes first, however many events are left.
        while rows and not self._is_due(began):
            stored = await self._sender.send(publisher, rows, counters)
            if stored:
                count, sequence = stored
                self._sent = _BatchEnd(counters.generation, rows[count - 1].rank, sequence)
                _count_published(rows[:count])
                if count == len(rows) and not self._may_leave_others(rows, counters):
                    return False
            else:
                # The sender has revoked the ranks of the unsent events.
                self.rank = counters.sent_rank
            rows, counters = await self._advance()
        return counters.rank < self.rank

    async def record(self) -> None:
        """Record what was sent, unless another relay has recorded more."""
        if self._sent is not None:
            await self._database.transaction(self._record)
            self._sent = None

    async def _advance(self) -> tuple[list[NumberedEvent], Counters]:
        """Record what was sent, number new events and read the next ones, in one commit."""
        advanced = await self._database.transaction(self._take_next)
        self._sent = None
        return advanced

    def _take_next(self, tx: Transaction) -> tuple[list[NumberedEvent], Counters]:
        session = tx.session
        locked = lock_counters(session)
        if locked.rank < self.rank:
            # A backup of the database was restored while this relay ran: send nothing before outbox
            # and stream were compared.
            return [], locked
        counters = self._with_sent(locked)
        limit = min(self._batch_events, max(_MIN_ROWS, self._sender.size.now))
        if counters.rank == counters.sent_rank:
            counters, rows = number_new(session, counters, limit, _BATCH_BYTES)
            self.rank = counters.rank
            if rows:
                return rows, counters
        else:  # Events that have numbers already come first.
            self.rank = counters.rank
            rows = outbox.unsent_after(session, counters.sent_rank, limit, _BATCH_BYTES)
        if counters != locked:
            record_sent(session, counters.sent_rank, counters.sent_sequence)
        return rows, counters

    def _record(self, tx: Transaction) -> None:
        locked = lock_counters(tx.session)
        counters = self._with_sent(locked)
        if counters != locked:
            record_sent(tx.session, counters.sent_rank, counters.sent_sequence)

    def _with_sent(self, counters: Counters) -> Counters:
        """Return the counters with what this relay has sent, if that is more than they tell.

        Another relay may have recorded more, or given the ranks another meaning.
        """
        sent = self._sent
        if sent is None or sent.generation != counters.generation or sent.rank > counters.rank:
            return counters
        if sent.rank <= counters.sent_rank:
            return counters
        return replace(counters, sent_rank=sent.rank, sent_sequence=sent.sequence)

    def _may_leave_others(self, rows: Sequence[NumberedEvent], counters: Counters) -> bool:
        """Whether more events may have been in the outbox than these, which were all sent."""
        if rows[-1].rank < counters.rank or len(rows) >= min(self._batch_events, _MIN_ROWS):
            return True
        return sum(len(row.headers) + len(row.data) for row in rows) > _BATCH_BYTES // 2


def _count_published(rows: Sequence[NumberedEvent]) -> None:
    """Add the events to the metric of published events, by type."""
    for type, count in Counter(type_of_subject(row.subject) for row in rows).items():
        metrics.EVENTS_PUBLISHED.labels(type).inc(count)
