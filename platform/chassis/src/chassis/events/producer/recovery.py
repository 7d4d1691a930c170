"""Recovery is one question: where does the stream end?

If it ends where it should, the relay goes on from there. If it ends earlier, what ranks above is
sent again. If it ends with something that this database does not know, the database is older than
the stream, or new, and its counters are lifted above it.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog
from nats.aio.client import Client

from chassis.database import Database, Transaction
from chassis.event_settings import EventSettings
from chassis.events.jetstream.owned_stream import OwnedStream, ensure_stream, look_at_stream
from chassis.events.jetstream.stored_messages import Stored, read_from, stored_at
from chassis.events.jetstream.stream_end import CopyLags, last_event, rank_of
from chassis.events.jetstream.streams import StreamState
from chassis.events.producer import outbox, refused, sent_marks
from chassis.events.producer.outbox import Counters
from chassis.events.producer.outbox_lift import Held, lift
from chassis.events.wire import transport
from chassis.ids import uuid7

__all__ = ["Compared", "Recovery"]

_log = structlog.get_logger(__name__)
# So many lives of the counters before this one are named with each event.
_LINEAGE_MOST = 10
# So many lifts within so many seconds are no restored database.
_FIGHT_LIFTS = 3
_FIGHT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Compared:
    """The stream as it was found, where it differs from what it should be, and the subjects that it
    lacks; the last rank that the database has given, and whether its counters were lifted for that.
    """

    state: StreamState
    drift: tuple[str, ...]
    lacks: tuple[str, ...]
    rank: int
    lifted: bool


class Recovery:
    """Compares a service's outbox with its stream."""

    def __init__(
        self, database: Database, stream: str, types: Sequence[str], settings: EventSettings
    ) -> None:
        self._database = database
        self._stream = stream
        self._types = types
        self._settings = settings
        self._known = 0
        self._lifts: deque[float] = deque(maxlen=_FIGHT_LIFTS)

    async def compare(self, client: Client) -> Compared:
        """Ask where the stream ends, and let the outbox go on from there.

        Raises:
            LaneCountChanged: the stream has another number of lanes.
            StreamGone: it is missing, and `broker apply` is to make it.
            JetStreamError, RuntimeError, TimeoutError, nats.errors.Error, DatabaseDown: ask again.
        """
        # What other versions have published here is sent too.
        others = await self._database.read(lambda tx: outbox.types(tx.session))
        types = sorted({*self._types, *others})
        owned = await self._own_stream(client, types)
        state = owned.state
        last = await last_event(client, self._stream, state, self._known)
        self._known = last.sequence if last else 0
        rank = await self._database.transaction(partial(self._reconcile, state=state, last=last))
        if rank is not None:
            return Compared(state, owned.drift, owned.lacks, rank, lifted=False)
        assert last
        rank = await self._lift(client, last, state.last_sequence)
        return Compared(state, owned.drift, owned.lacks, rank, lifted=True)

    async def _own_stream(self, client: Client, types: Sequence[str]) -> OwnedStream:
        settings = self._settings
        if not settings.makes_streams:
            return await look_at_stream(client, self._stream, types, settings)
        return await ensure_stream(client, self._stream, types, settings, self._sent_rank)

    async def _sent_rank(self) -> int:
        return await self._database.read(lambda tx: outbox.sent_rank(tx.session))

    def _reconcile(self, tx: Transaction, state: StreamState, last: Stored | None) -> int | None:
        """Take the stream's end as what was sent; None if the database doesn't know that end."""
        session = tx.session
        counters = outbox.lock_counters(session)
        max_age = state.max_age_seconds
        if last is None:
            # What was never sent goes out however old it is.
            aged = sent_marks.aged_rank(session, state.now, max_age) if max_age else 0
            rank = min(counters.sent_rank, aged)
        else:
            rank = rank_of(last, self._stream)
            if not _is_ours(tx, counters, rank, last):
                return None
        if rank < counters.sent_rank:
            _log.warning(
                "stream lost events; sending them again",
                stream=self._stream,
                events=counters.sent_rank - rank,
            )
            sent_marks.note(session, counters.sent_rank, state.now, max_age)
        elif last:
            sent_marks.note(session, rank, last.time, max_age, broker_time=state.now)
        if (rank, state.last_sequence) != (counters.sent_rank, counters.sent_sequence):
            outbox.record_sent(session, rank, state.last_sequence)
        return counters.rank

    async def _lift(self, client: Client, last: Stored, end: int) -> int:
        """An older or a new database under a living stream, which ends at the sequence `end`."""
        counters, unsent, apart = await self._database.transaction(_unsent)
        same = _is_of(last, counters)
        known = same and await self._is_stored(client, counters)
        numbers: dict[str, int] = {}
        held: list[Held] = []
        held_refused: dict[str, tuple[int, int]] = {}
        unknown = _Named()
        read = 0
        async for stored in read_from(
            client, self._stream, counters.sent_sequence + 1 if known else 1
        ):
            read = stored.sequence
            rank = rank_of(stored, self._stream)
            if not rank:
                continue  # no relay has sent it
            number = stored.number
            numbers[stored.subject] = max(number, numbers.get(stored.subject, 0))
            event_id = transport.header(stored.headers, "ce-id") or ""
            if event_id in unsent:
                held.append(Held(unsent[event_id], number, rank))
            elif event_id in apart:
                held_refused[event_id] = number, rank
            elif rank > counters.sent_rank or not _is_of(stored, counters):
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
        self._note_lift()
        generation = counters.generation if same else uuid7()
        lineage = counters.lineage if same else _lineage(last, counters)

        def lifted(tx: Transaction) -> int:
            now = outbox.lock_counters(tx.session)
            if now != counters:
                raise RuntimeError("the counters moved while the stream was read")
            return lift(
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

        return await self._database.transaction(lifted)

    def _note_lift(self) -> None:
        """A database is restored once; one that is passed again and again has a living rival. Of a
        service's own replicas the membership knows it; here those are found that it does not."""
        now = time.monotonic()
        self._lifts.append(now)
        if len(self._lifts) == _FIGHT_LIFTS and now - self._lifts[0] < _FIGHT_SECONDS:
            self._lifts.clear()
            _log.error(
                "another database publishes into the stream; only one database may be in use",
                stream=self._stream,
            )

    async def _is_stored(self, client: Client, counters: Counters) -> bool:
        """Whether the stream holds, at its place, the last event recorded as sent."""
        if not counters.sent_sequence:
            return False
        stored = await stored_at(client, self._stream, counters.sent_sequence)
        return (
            stored is not None
            and rank_of(stored, self._stream) == counters.sent_rank
            and _is_of(stored, counters)
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


def _unsent(tx: Transaction) -> tuple[Counters, dict[str, int], set[str]]:
    """The counters, the rows of unsent events by the events' ids, and the ids of those apart."""
    session = tx.session
    return (
        outbox.lock_counters(session),
        outbox.rows_of_unsent(session),
        refused.known(session),
    )


def _is_ours(tx: Transaction, counters: Counters, rank: int, last: Stored) -> bool:
    """Whether the stream ends with an event that this database knows, or was lifted above."""
    generation = transport.generation(last.headers)
    if generation != counters.generation:
        return generation in counters.lineage.split() and rank <= counters.base_rank
    if rank > counters.rank:
        return False
    return outbox.id_of_rank(tx.session, rank) in (None, transport.header(last.headers, "ce-id"))


def _is_of(stored: Stored, counters: Counters) -> bool:
    """Whether it was numbered by these counters."""
    return transport.generation(stored.headers) == counters.generation


def _lineage(last: Stored, counters: Counters) -> str:
    """The lives before one that begins now: those that the stream has seen, and this database's."""
    of_stream = (transport.generation(last.headers), *transport.lineage(last.headers))
    of_database = (counters.generation if counters.rank else "", *counters.lineage.split())
    names = dict.fromkeys(filter(None, (*of_stream, *of_database)))
    return " ".join(list(names)[:_LINEAGE_MOST])
