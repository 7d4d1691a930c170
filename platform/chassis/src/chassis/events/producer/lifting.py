"""Lifts the counters of a database above its stream: after a restore, or for a new database."""

import time
from collections import deque
from dataclasses import dataclass, field

import structlog
from nats.aio.client import Client

from chassis.database import Database, Transaction
from chassis.events.jetstream.stored_messages import Stored, read_from, stored_at
from chassis.events.jetstream.stream_end import CopyLags, rank_of
from chassis.events.producer import outbox, refused
from chassis.events.producer.counters import Counters, lock_counters
from chassis.events.producer.renumbering import HeldEvent, lift_counters
from chassis.events.wire import event_headers
from chassis.ids import uuid7

__all__ = ["Lifter"]

_log = structlog.get_logger(__name__)
# Each event names up to this many earlier generations.
_LINEAGE_MAX = 10
# A restored database is lifted once. This many lifts in this time mean that two databases publish.
_RIVAL_LIFTS = 3
_RIVAL_SECONDS = 600.0


class Lifter:
    """Reads what a database does not know of its stream, and lifts the counters above it."""

    def __init__(self, database: Database, stream: str) -> None:
        self._database = database
        self._stream = stream
        self._lifted_at: deque[float] = deque(maxlen=_RIVAL_LIFTS)

    async def lift(self, client: Client, last: Stored, end: int) -> int:
        """Lift the counters above the stream's `last` event, and return the highest rank given.

        The stream ends at the sequence `end`, where messages that are not events may be.

        Raises:
            RuntimeError: the counters have changed in the meantime; try again.
            CopyLags, JetStreamError, TimeoutError, nats.errors.Error, DatabaseDown: try again.
        """
        counters, unsent, set_apart = await self._database.transaction(_read_unsent)
        same = _is_numbered_by(counters, last)
        known = same and await self._holds_last_sent(client, counters)
        numbers: dict[str, int] = {}
        held: list[HeldEvent] = []
        held_refused: dict[str, tuple[int, int]] = {}
        unknown = _UnknownEvents()
        read = 0
        async for stored in read_from(
            client, self._stream, counters.sent_sequence + 1 if known else 1
        ):
            read = stored.sequence
            rank = rank_of(stored, self._stream)
            if not rank:
                continue  # Another publisher has sent it.
            number = stored.number
            numbers[stored.subject] = max(number, numbers.get(stored.subject, 0))
            event_id = event_headers.header(stored.headers, "ce-id") or ""
            if event_id in unsent:
                held.append(HeldEvent(unsent[event_id], number, rank))
            elif event_id in set_apart:
                held_refused[event_id] = number, rank
            elif rank > counters.sent_rank or not _is_numbered_by(counters, stored):
                unknown.add(event_id)
        if read < last.sequence:
            raise CopyLags
        _log.warning(
            "database is older than the stream; numbering new events above it",
            stream=self._stream,
            unknown_events=unknown.count,
            first_ids=unknown.first,
            last_ids=list(unknown.last),
        )
        self._detect_rival()
        generation = counters.generation if same else uuid7()
        lineage = counters.lineage if same else _merge_lineages(last, counters)

        def lift_unchanged(tx: Transaction) -> int:
            if lock_counters(tx.session) != counters:
                raise RuntimeError("the counters moved while the stream was read")
            return lift_counters(
                tx.session,
                counters,
                generation=generation,
                lineage=lineage,
                numbers=numbers,
                held=held,
                held_refused=held_refused,
                sequence=end,
                rank=rank_of(last, self._stream),
            ).rank

        return await self._database.transaction(lift_unchanged)

    def _detect_rival(self) -> None:
        """Log an error if lifts are so frequent that another database must publish as well.

        The membership detects that among the replicas of one service; this detects the rest.
        """
        now = time.monotonic()
        self._lifted_at.append(now)
        frequent = len(self._lifted_at) == _RIVAL_LIFTS
        if frequent and now - self._lifted_at[0] < _RIVAL_SECONDS:
            self._lifted_at.clear()
            _log.error(
                "another database publishes into the stream; only one database may be in use",
                stream=self._stream,
            )

    async def _holds_last_sent(self, client: Client, counters: Counters) -> bool:
        """Whether the stream holds the last event recorded as sent, at the recorded sequence."""
        if not counters.sent_sequence:
            return False
        stored = await stored_at(client, self._stream, counters.sent_sequence)
        return (
            stored is not None
            and rank_of(stored, self._stream) == counters.sent_rank
            and _is_numbered_by(counters, stored)
        )


@dataclass(slots=True)
class _UnknownEvents:
    """The number of events that the database does not know, and the ids of some of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=3))

    def add(self, id: str) -> None:
        self.count += 1
        self.last.append(id)
        if len(self.first) < 3:
            self.first.append(id)


def _read_unsent(tx: Transaction) -> tuple[Counters, dict[str, int], set[str]]:
    """Return the counters, unsent rows by event id, and the ids of events that are set apart."""
    session = tx.session
    return lock_counters(session), outbox.rows_of_unsent(session), refused.event_ids(session)


def _is_numbered_by(counters: Counters, stored: Stored) -> bool:
    """Whether a stored event has the generation of these counters."""
    return event_headers.generation(stored.headers) == counters.generation


def _merge_lineages(last: Stored, counters: Counters) -> str:
    """Return the generations before a new one: those of the stream, then those of the database."""
    of_stream = (event_headers.generation(last.headers), *event_headers.lineage(last.headers))
    of_database = (counters.generation if counters.rank else "", *counters.lineage.split())
    names = dict.fromkeys(filter(None, (*of_stream, *of_database)))
    return " ".join(list(names)[:_LINEAGE_MAX])
