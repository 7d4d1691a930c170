"""Sends numbered events into their stream, in order, in batches as large as get through."""

import json
from collections.abc import Sequence
from typing import Literal

import structlog
from nats.aio.client import Client

from chassis.database import Database, Transaction
from chassis.events.jetstream.api import (
    EVENT_REFUSED,
    JetStreamError,
    StreamGone,
    WrongLastSequence,
)
from chassis.events.jetstream.atomic_batch import publish_batch
from chassis.events.jetstream.stream_end import only_strangers
from chassis.events.producer import outbox, refused, sent_marks
from chassis.events.producer.batch_size import BatchSize
from chassis.events.producer.outbox import Counters, Outgoing
from chassis.events.producer.outbox_lift import take_numbers_back
from chassis.events.wire import transport
from chassis.ids import uuid7

__all__ = ["Sender", "StreamRefuses"]

_log = structlog.get_logger(__name__)
# A batch may lose to strangers this many times before the stream is compared with the outbox.
_RACES = 200


class StreamRefuses(Exception):
    """The stream takes no event, for a reason of its own and not of the event's."""


class Sender:
    """Publishes for one relay, and says what its stream refuses."""

    def __init__(self, database: Database, stream: str, most: int) -> None:
        self._database = database
        self._stream = stream
        self.size = BatchSize(most)
        self.refusing: str | None = None
        """Why the stream takes nothing at the moment, if it does not."""

    async def send(
        self, client: Client, rows: Sequence[Outgoing], counters: Counters
    ) -> tuple[int, int] | None:
        """Publish the first of these events, as many as get through.

        How many, and the sequence of the last; None if the first was set apart instead.

        Raises:
            StreamRefuses: not even the first alone, for a reason that is the stream's.
            WrongLastSequence, BatchIncomplete, StreamGone: the stream is not as it was.
            TimeoutError, nats.errors.Error: unknown what was stored.
        """
        done, expected, races = 0, counters.sent_sequence, 0
        while done < len(rows):
            batch = rows[done : done + self.size.now]
            some = [_message(row, counters, expected + n) for n, row in enumerate(batch, start=1)]
            try:
                expected = await publish_batch(client, uuid7(), some, expected)
            except WrongLastSequence as error:
                races += 1
                if races > _RACES:
                    raise
                expected = await self._after_strangers(client, expected, error)
                self.size.raced()
            except TimeoutError:
                self.size.failed(len(some))
                raise
            except JetStreamError as error:
                if len(some) > 1:
                    self.size.failed(len(some))
                    continue
                if done:
                    break  # what was stored is recorded first
                if isinstance(error, StreamGone):
                    raise  # not even this one subject is taken
                if error.error_code not in EVENT_REFUSED:
                    raise StreamRefuses(error.description) from error
                await self._set_apart(rows[0], counters, error.description)
                return None
            else:
                done, races = done + len(some), 0
                self.size.stored()
                self.say_refusing(None)
        return done, expected

    def say_refusing(self, reason: str | None, limits: Sequence[str] = ()) -> None:
        """Log when the stream begins to take nothing, and when it takes events again."""
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

    async def _after_strangers(
        self, client: Client, expected: int, error: WrongLastSequence
    ) -> int:
        """Where the stream ends now, if only strangers have published since; else the error."""
        end = error.last_sequence
        if end is None or end <= expected:
            raise error
        if not await only_strangers(client, self._stream, expected + 1, end):
            raise error
        return end

    async def _set_apart(self, row: Outgoing, counters: Counters, reason: str) -> None:
        """Let those behind an event go on that the stream refuses for what it is."""

        def apart(tx: Transaction) -> Literal["set apart", "lost"] | None:
            session = tx.session
            if outbox.lock_counters(session) != counters:
                return None  # another relay was here: look again
            if row.rank <= sent_marks.highest(session):
                # Its number is known: it cannot be given to another.
                outbox.record_sent(session, row.rank, counters.sent_sequence)
                return "lost"
            id = outbox.row_of_rank(session, row.rank)
            take_numbers_back(session, counters)
            refused.set_apart(session, id, reason)
            return "set apart"

        said = {
            "stream": self._stream,
            "event_id": transport.event_id(json.loads(row.headers)),
            "subject": row.subject,
            "bytes": len(row.headers) + len(row.data),
            "reason": reason,
        }
        done = await self._database.transaction(apart)
        if done == "set apart":
            _log.error("stream refused an event; event set apart, later events are sent", **said)
        elif done == "lost":
            _log.error("stream refused an event that it had lost; the event stays lost", **said)


def _message(
    row: Outgoing, counters: Counters, stored_at: int
) -> tuple[str, bytes, dict[str, str]]:
    headers = transport.relayed(
        row.headers,
        number=row.number,
        rank=row.rank,
        generation=counters.generation,
        lineage=counters.lineage,
        stored_at=stored_at,
    )
    return row.subject, row.data, headers
