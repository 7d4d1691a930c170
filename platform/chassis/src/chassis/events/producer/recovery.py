"""Recovery answers one question: where does the stream end?

If the stream ends where the database expects it, the relay continues there. If it ends earlier, the
events above are sent again. If it ends with an event that the database does not know, the
database is older than the stream, or new, and its counters are lifted above the stream's end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from nats.aio.client import Client

from chassis.database import Database, Transaction
from chassis.event_settings import EventSettings
from chassis.events.jetstream.owned_stream import OwnedStream, ensure_stream, look_at_stream
from chassis.events.jetstream.stored_messages import Stored
from chassis.events.jetstream.stream_end import last_event, rank_of
from chassis.events.jetstream.streams import StreamState
from chassis.events.producer import outbox, sent_marks
from chassis.events.producer.counters import Counters, lock_counters, record_sent
from chassis.events.producer.lifting import Lifter
from chassis.events.wire import event_headers

__all__ = ["Compared", "Recovery"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Compared:
    """The result of a comparison.

    `drift` has a line for each setting that differs, `lacks` the subjects that are missing. `rank`
    is the highest that the database has given; `lifted` tells that its counters were lifted.
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
        self._lifter = Lifter(database, stream)
        self._last_sequence = 0

    async def compare(self, client: Client) -> Compared:
        """Find the stream's end, and let the outbox continue there.

        Raises:
            LaneCountChanged: the stream has another number of lanes.
            StreamGone: the stream is missing, and only `broker apply` may create it.
            JetStreamError, RuntimeError, TimeoutError, nats.errors.Error, DatabaseDown: try again.
        """
        # Types of other versions of this service count, because their events are sent too.
        others = await self._database.read(lambda tx: outbox.types(tx.session))
        types = sorted({*self._types, *others})
        owned = await self._verify_or_create_stream(client, types)
        state = owned.state
        last = await last_event(client, self._stream, state, self._last_sequence)
        self._last_sequence = last.sequence if last else 0
        rank = await self._database.transaction(
            partial(self._record_stream_end, state=state, last=last)
        )
        if rank is not None:
            return Compared(state, owned.drift, owned.lacks, rank, lifted=False)
        assert last
        rank = await self._lifter.lift(client, last, state.last_sequence)
        return Compared(state, owned.drift, owned.lacks, rank, lifted=True)

    async def _verify_or_create_stream(self, client: Client, types: Sequence[str]) -> OwnedStream:
        """Return the service's stream, which is created only if the settings allow it."""
        settings = self._settings
        if not settings.makes_streams:
            return await look_at_stream(client, self._stream, types, settings)
        return await ensure_stream(client, self._stream, types, settings, self._read_sent_rank)

    async def _read_sent_rank(self) -> int:
        return await self._database.read(lambda tx: outbox.sent_rank(tx.session))

    def _record_stream_end(
        self, tx: Transaction, state: StreamState, last: Stored | None
    ) -> int | None:
        """Record the stream's end as what was sent, and return the highest rank given.

        Return None if the database does not know that end.
        """
        session = tx.session
        counters = lock_counters(session)
        max_age = state.max_age_seconds
        if last is None:
            # The age counts from sending, so that an event never sent goes out however old it is.
            aged = sent_marks.aged_rank(session, state.now, max_age) if max_age else 0
            rank = min(counters.sent_rank, aged)
        else:
            rank = rank_of(last, self._stream)
            if not _knows_last_event(tx, counters, rank, last):
                return None
        if rank < counters.sent_rank:
            _log.warning(
                "stream lost events; sending them again",
                stream=self._stream,
                events=counters.sent_rank - rank,
            )
            sent_marks.mark(session, counters.sent_rank, state.now, max_age)
        elif last:
            sent_marks.mark(session, rank, last.time, max_age, broker_time=state.now)
        if (rank, state.last_sequence) != (counters.sent_rank, counters.sent_sequence):
            record_sent(session, rank, state.last_sequence)
        return counters.rank


def _knows_last_event(tx: Transaction, counters: Counters, rank: int, last: Stored) -> bool:
    """Whether this database numbered the stream's last event, or was lifted above it."""
    generation = event_headers.generation(last.headers)
    if generation != counters.generation:
        return generation in counters.lineage.split() and rank <= counters.base_rank
    if rank > counters.rank:
        return False
    event_id = outbox.event_id_of_rank(tx.session, rank)
    return event_id in (None, event_headers.header(last.headers, "ce-id"))
