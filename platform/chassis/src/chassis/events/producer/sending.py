"""Sends numbered events into their stream, in order, in batches."""

import json
from collections.abc import Sequence
from typing import Literal

import structlog
from nats.aio.client import Client

from chassis.database import Database, Transaction
from chassis.events.jetstream.api import (
    EVENT_REFUSED,
    BatchesRefused,
    StreamGone,
    WrongLastSequence,
)
from chassis.events.jetstream.ordered_batch import BatchPublisher, Message
from chassis.events.jetstream.stream_end import only_unranked
from chassis.events.producer import outbox, refused, sent_marks
from chassis.events.producer.batch_size import BatchSize
from chassis.events.producer.counters import Counters, lock_counters, record_sent
from chassis.events.producer.outbox import NumberedEvent
from chassis.events.producer.renumbering import revoke_unsent
from chassis.events.wire import event_headers

__all__ = ["Sender", "StreamRefuses"]

_log = structlog.get_logger(__name__)
# A batch is refused if another publisher stores a message first. After this number of refusals the
# stream is compared with the outbox.
_MAX_RACES = 200


class StreamRefuses(Exception):
    """The stream refused the next event, for a reason that is not the event's."""


class Sender:
    """Publishes the batches of one relay, and sets apart the events that its stream refuses."""

    def __init__(self, database: Database, stream: str, batch_events: int) -> None:
        self._database = database
        self._stream = stream
        self._batch_events = batch_events
        self.size = BatchSize(batch_events)
        self.refusing: str | None = None
        """Why the stream accepts no events at the moment; None if it does."""

    def allow_batches(self, *, allowed: bool) -> None:
        """Send batches, or only single events.

        A server that is older than batches would store the message that ends one.
        """
        self.size.limit(self._batch_events if allowed else 1)

    async def send(
        self, publisher: BatchPublisher, rows: Sequence[NumberedEvent], counters: Counters
    ) -> tuple[int, int] | None:
        """Publish events from the first on, until the stream refuses one.

        Return their number and the sequence of the last; None if the first was refused instead, so
        that the events must be read again.

        Raises:
            StreamRefuses: the stream refuses the first event, for a reason of its own.
            WrongLastSequence, BatchIncomplete, StreamGone: the stream has changed.
            TimeoutError, nats.errors.Error: unknown what was stored.
        """
        done, expected, races = 0, counters.sent_sequence, 0
        while done < len(rows):
            batch = rows[done : done + self.size.now]
            messages = _to_messages(batch, counters, expected)
            try:
                stored = await publisher.publish(messages, expected)
            except TimeoutError:
                self.size.failed(len(messages))
                raise
            if stored.count:
                done, expected, races = done + stored.count, stored.sequence, 0
                self.say_refusing(None)
            error = stored.error
            if error is None:
                self.size.stored()
            elif isinstance(error, WrongLastSequence):
                races += 1
                if races > _MAX_RACES:
                    raise error
                expected = await self._end_after_unranked(publisher.client, expected, error)
                self.size.send_single()
            elif isinstance(error, BatchesRefused) and len(messages) > 1:
                self.size.send_single()
            elif done:
                break  # The stored events are recorded first.
            elif isinstance(error, StreamGone):
                raise error  # The stream lacks the subject of this event.
            elif error.error_code not in EVENT_REFUSED:
                raise StreamRefuses(error.description) from error
            else:
                await self._set_apart(rows[0], counters, error.description)
                return None
        return done, expected

    def say_refusing(self, reason: str | None, limits: Sequence[str] = ()) -> None:
        """Log when the stream begins to refuse all events, and when it accepts events again."""
        if reason == self.refusing:
            return
        self.refusing = reason
        if reason:
            _log.error(
                "stream accepts no events; they wait in the outbox",
                stream=self._stream,
                reason=reason,
                limits=list(limits),
            )
        else:
            _log.info("stream accepts events again", stream=self._stream)

    async def _end_after_unranked(
        self, client: Client, expected: int, error: WrongLastSequence
    ) -> int:
        """Return the stream's end if no relay has published since; raise the error otherwise."""
        end = error.last_sequence
        if end is None or end <= expected:
            raise error
        if not await only_unranked(client, self._stream, expected + 1, end):
            raise error
        return end

    async def _set_apart(self, row: NumberedEvent, counters: Counters, reason: str) -> None:
        """Set an event apart that the stream refuses, so that the events behind it can be sent."""

        def apart(tx: Transaction) -> Literal["set apart", "lost"] | None:
            session = tx.session
            if lock_counters(session) != counters:
                return None  # Another relay has changed them, so the events are read again.
            if row.rank <= sent_marks.highest(session):
                # Consumers know its number, so that no other event can have it.
                record_sent(session, row.rank, counters.sent_sequence)
                return "lost"
            id = outbox.row_of_rank(session, row.rank)
            revoke_unsent(session, counters)
            refused.set_apart(session, id, reason)
            return "set apart"

        details = {
            "stream": self._stream,
            "event_id": event_headers.event_id(json.loads(row.headers)),
            "subject": row.subject,
            "bytes": len(row.headers) + len(row.data),
            "reason": reason,
        }
        done = await self._database.transaction(apart)
        if done == "set apart":
            _log.error("stream refused an event; event set apart, later events are sent", **details)
        elif done == "lost":
            _log.error("stream refused to store a lost event again; it remains missing", **details)


def _to_messages(
    rows: Sequence[NumberedEvent], counters: Counters, last_sequence: int
) -> list[Message]:
    """Return the messages of events that are to be stored after a sequence."""
    added = event_headers.relay_lines(counters.generation, counters.lineage, is_stored=True)
    to_lines = event_headers.to_lines
    return [
        (subject, data, to_lines(headers) + added % (number, rank, sequence))
        for sequence, (subject, headers, data, number, rank) in enumerate(rows, last_sequence + 1)
    ]
