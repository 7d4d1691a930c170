"""Committing events in as few transactions as possible, and finding out which one fails."""

import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import structlog
from sqlalchemy.orm import Session

from chassis.database import (
    ConnectionLost,
    DatabaseAtFault,
    DatabaseDown,
    DeferredFailed,
    Transaction,
)
from chassis.events.consumer import batch, position_rows
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.batch import HandlerFailed, MovePositions, Outcome, Processing
from chassis.events.consumer.conflict_limit import ConflictLimit
from chassis.events.consumer.dependencies import ReaderDependencies
from chassis.events.consumer.one_by_one import OneByOne
from chassis.events.consumer.position import Position, PositionMoved
from chassis.events.consumer.suspicions import Suspicions
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.failures import Reject, failure_values, log_handled
from chassis.events.tasks.backoff import backoff
from chassis.telemetry import metrics, tracing

__all__ = ["Committer"]

_log = structlog.get_logger(__name__)


class Committer:
    """Commits the events of one stream.

    `move` and `load` move and load the positions; by default those of numbered events.
    """

    def __init__(
        self,
        stream: str,
        handlers: Mapping[str, Handler],
        suspicions: Suspicions,
        dependencies: ReaderDependencies,
        *,
        move: MovePositions | None = None,
        load: Callable[[Session], Mapping[str, Position]] | None = None,
    ) -> None:
        self._stream = stream
        self._suspicions = suspicions
        self._database = dependencies.database
        self._gate = dependencies.gate
        self._settings = dependencies.settings
        self._processing = Processing(
            handlers, dependencies.members.version, move=move or batch.move_positions
        )
        self._canaries = dependencies.members.canaries
        self._on_tasks = dependencies.on_tasks
        self._load = load or partial(position_rows.load, stream=stream)
        self._limit = ConflictLimit(dependencies.settings.batch_max_events)
        self.one_by_one = OneByOne()
        self._lost_connection: set[tuple[str, int]] = set()

    def stream_ends_at(self, sequence: int) -> None:
        """Note where the stream ends. Call before each consumer is created."""
        self._suspicions.end_at(sequence)
        self.one_by_one.stream_ends_at(sequence)

    async def commit(
        self, arrivals: list[Arrival], positions: Mapping[str, Position]
    ) -> AsyncIterator[list[Arrival]]:
        """Let events take effect that are the next ones after these positions.

        Yields the events of each transaction after its commit.

        Raises:
            PositionMoved: another member has processed some of them.
            DatabaseDown, ConnectionLost: read the positions again.
        """
        self._suspicions.mark(arrivals)
        parts = self.one_by_one.split(arrivals)
        before = {a.position_subject: positions[a.position_subject] for a in arrivals}
        while parts:
            part, rest = _cut(parts.pop(0), self._limit.events)
            parts[:0] = rest
            outcome = await self._commit_part(part, before)
            if isinstance(outcome, Outcome):
                self._limit.committed()
                before |= {arrival.position_subject: arrival.position for arrival in part}
                self._report(part, outcome)
                self._suspicions.note_processed(part)
                yield part
            else:
                parts[:0] = outcome
        self.one_by_one.committed(arrivals)

    async def _commit_part(
        self, part: list[Arrival], positions: Mapping[str, Position], *, defers: bool = True
    ) -> Outcome | list[list[Arrival]]:
        """Commit in one transaction; if a handler failed, return smaller parts to commit.

        After a conflict with another transaction return the part, which the limit will cut. With
        `defers`, changes of several events are sent together.
        """
        links = _traceparents(part) if tracing.enabled else []
        processing = self._processing_now()
        attempts = itertools.count()

        def process(tx: Transaction) -> Outcome:
            if next(attempts) and len(part) > 1:
                raise _Conflict
            if defers and len(part) > 1:
                tx.defer_changes()
            return batch.process(tx, part, positions, processing)

        try:
            async with self._gate.shared():
                with tracing.start_span(f"take {self._stream}", root=True, links=links):
                    return await self._database.transaction(process)
        except _Conflict:
            self._limit.conflicted(len(part))
            return [part]
        except (PositionMoved, DatabaseDown):
            raise
        except DeferredFailed:
            # The events run again with each error at its place, which tells the failing one.
            return await self._commit_part(part, positions, defers=False)
        except ConnectionLost as error:
            await self._handle_lost_connection(part, positions, error)
            raise
        except DatabaseAtFault as error:
            if len(part) > 1:
                failed = error.__cause__
                return _split(part, failed.arrivals if isinstance(failed, HandlerFailed) else part)
            return await self._store_failed(part[0], positions, error)
        except HandlerFailed as error:
            if len(part) > 1:
                return _split(part, error.arrivals)
            return await self._store_failed(part[0], positions, error.__cause__ or error)
        except Exception as error:
            if len(part) > 1:
                # The commit itself failed and the failing event is unknown, so each runs by itself.
                return [[arrival] for arrival in part]
            return await self._store_failed(part[0], positions, error)

    async def _store_failed(
        self, arrival: Arrival, positions: Mapping[str, Position], error: BaseException
    ) -> Outcome:
        """Count and log an event that failed by itself; store it as a task or a dead letter."""
        metrics.EVENTS_FAILED.labels(arrival.type).inc()
        metrics.EVENTS_FAILED_AT_FIRST.labels(arrival.type).inc()
        said = failure_values(
            error,
            event_id=arrival.event_id,
            type=arrival.type,
            key=arrival.key[1] if arrival.context else "",
            handler=self._processing.handlers[arrival.type].name,
            first=True,
        )
        if isinstance(error, Reject):
            _log.warning("event handler rejected an event; storing it as a dead letter", **said)
        else:
            _log.warning("event handler failed; storing the event as a task", **said)
        due_at = time.time() + backoff(1, self._settings)
        processing = self._processing_now()
        return await self._database.transaction(
            lambda tx: batch.store_failed(tx, arrival, positions, processing, error, due_at)
        )

    def _processing_now(self) -> Processing:
        """Return how to process events while this version is the canary that it is now.

        The members change on the event loop, so that they are not read on the thread.
        """
        return replace(self._processing, canary=self._canaries().own)

    async def _handle_lost_connection(
        self, part: list[Arrival], positions: Mapping[str, Position], error: ConnectionLost
    ) -> None:
        """Find out whether the database is unavailable or an event's handler ends its connection.

        The events of this part run one by one when they arrive again. An event that loses the
        connection twice is stored as failed.

        Raises:
            DatabaseDown: the database is unavailable.
        """
        await self._database.check()
        self.one_by_one.connection_lost(part)
        if len(part) > 1:
            return
        (arrival,) = part
        event = arrival.subject, arrival.position.number
        if event not in self._lost_connection:
            self._lost_connection.add(event)
            return
        self._lost_connection.clear()
        stored = await self._database.read(lambda tx: self._load(tx.session))
        # If the position has moved, the commit took effect before the connection was lost.
        if stored[arrival.position_subject] == positions[arrival.position_subject]:
            await self._store_failed(arrival, positions, error)

    def _report(self, part: list[Arrival], outcome: Outcome) -> None:
        """Count and log what was committed, and wake the task runner if tasks were stored."""
        now = time.time()
        if outcome.seen:
            metrics.EVENTS_SEEN_AGAIN.labels(part[0].type).inc(outcome.seen)
        for type, count in Counter(arrival.type for arrival in outcome.handled).items():
            metrics.EVENTS_HANDLED.labels(type).inc(count)
            seconds = metrics.EVENT_LATENCY_SECONDS.labels(type)
            for arrival in outcome.handled:
                if arrival.type == type and arrival.context and arrival.context.time:
                    seconds.observe(now - arrival.context.time.timestamp())
        if self._settings.log_events:
            for arrival in outcome.handled:
                log_handled(arrival.type, arrival.event_id, arrival.key[1], tries=1)
        for arrival in outcome.dead:
            metrics.EVENTS_GIVEN_UP.labels(arrival.type, "dead_letters").inc()
            _log.error(
                "event became a dead letter; later events of its key continue",
                event_id=arrival.event_id,
                subject=arrival.subject,
                reason=arrival.reason,
            )
        if outcome.tasks:
            self._on_tasks(outcome.canary)


class _Conflict(Exception):
    """A transaction of several events would run again as a whole."""


def _cut(part: list[Arrival], events: int) -> tuple[list[Arrival], list[list[Arrival]]]:
    """Return the first events of a part, and the others as parts."""
    return part[:events], [part[events:]] if len(part) > events else []


def _split(part: list[Arrival], failed: Iterable[Arrival]) -> list[list[Arrival]]:
    """Return each failed event by itself and the events between them together, in order."""
    failed_ids = {id(arrival) for arrival in failed}
    parts: list[list[Arrival]] = [[]]
    for arrival in part:
        if id(arrival) in failed_ids:
            parts += [[arrival], []]
        else:
            parts[-1].append(arrival)
    return [p for p in parts if p]


def _traceparents(arrivals: list[Arrival]) -> list[str]:
    """Return the traceparents of the spans that published these events."""
    return [span for arrival in arrivals if (span := arrival.trace.traceparent)]
