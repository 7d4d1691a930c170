"""Lets events take effect in as few commits as can be, and finds out which one fails."""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial

import structlog
from sqlalchemy.orm import Session

from chassis.database import ConnectionLost, Database, DatabaseAtFault, DatabaseDown
from chassis.event_settings import EventSettings
from chassis.events.consumer import batch, positions
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.batch import HandlerFailed, TakeIn, Taken
from chassis.events.consumer.positions import Position, PositionMoved
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.failures import failure, log_handled
from chassis.events.tasks.backoff import backoff
from chassis.events.tasks.gate import Gate
from chassis.telemetry import metrics, tracing

__all__ = ["Committer"]

_log = structlog.get_logger(__name__)


class Committer:
    """Commits the events of one stream.

    `take_in` and `load` move and load the positions, if they are not those of numbered subjects.
    """

    def __init__(
        self,
        stream: str,
        handlers: Mapping[str, Handler],
        *,
        database: Database,
        gate: Gate,
        settings: EventSettings,
        version: str,
        on_tasks: Callable[[], None],
        take_in: TakeIn | None = None,
        load: Callable[[Session], Mapping[str, Position]] | None = None,
    ) -> None:
        self._stream = stream
        self._handlers = handlers
        self._database = database
        self._gate = gate
        self._settings = settings
        self._version = version
        self._on_tasks = on_tasks
        self._take_in = take_in
        self._load = load or partial(positions.load, stream=stream)
        self._alone_until = 0
        self._lost_connection: set[tuple[str, int]] = set()

    def begin(self, last_sequence: int) -> None:
        """The stream ends there: a sequence above is one of a stream that is gone."""
        if last_sequence < self._alone_until:
            self._alone_until = 0

    async def commit(
        self, arrivals: list[Arrival], at: Mapping[str, Position]
    ) -> AsyncIterator[list[Arrival]]:
        """Let events take effect that are the next ones after these positions.

        Yields the events of each commit after it.

        Raises:
            PositionMoved: another member took some of them.
            DatabaseDown, ConnectionLost: read the positions again.
        """
        alone = [a for a in arrivals if a.position.sequence <= self._alone_until]
        rest = arrivals[len(alone) :]
        parts = [[arrival] for arrival in alone] + ([rest] if rest else [])
        before = {arrival.place: at[arrival.place] for arrival in arrivals}
        while parts:
            part = parts.pop(0)
            outcome = await self._commit_part(part, before)
            if isinstance(outcome, Taken):
                before |= {arrival.place: arrival.position for arrival in part}
                self._tell(part, outcome)
                yield part
            else:
                parts[:0] = outcome
        if arrivals[-1].position.sequence >= self._alone_until:
            self._alone_until = 0

    async def _commit_part(
        self, part: list[Arrival], at: Mapping[str, Position]
    ) -> Taken | list[list[Arrival]]:
        """Commit in one transaction; if a handler failed, return smaller parts to commit."""
        links = _traceparents(part) if tracing.enabled else []
        try:
            async with self._gate.shared():
                with tracing.start_span(f"take {self._stream}", root=True, links=links):
                    return await self._database.transaction(
                        lambda tx: batch.take(tx, part, at, self._handlers, self._take_in)
                    )
        except (PositionMoved, DatabaseDown):
            raise
        except ConnectionLost as error:
            await self._connection_lost(part, at, error)
            raise
        except DatabaseAtFault as error:
            if len(part) > 1:
                failed = error.__cause__
                return _split(part, failed.arrivals if isinstance(failed, HandlerFailed) else part)
            return await self._failed_alone(part[0], at, error)
        except HandlerFailed as error:
            if len(part) > 1:
                return _split(part, error.arrivals)
            return await self._failed_alone(part[0], at, error.__cause__ or error)
        except Exception as error:  # it failed at the commit: no telling whose it is
            if len(part) > 1:
                return [[arrival] for arrival in part]
            return await self._failed_alone(part[0], at, error)

    async def _failed_alone(
        self, arrival: Arrival, at: Mapping[str, Position], error: BaseException
    ) -> Taken:
        metrics.EVENTS_FAILED.labels(arrival.type).inc()
        said = failure(
            error,
            event_id=arrival.event_id,
            type=arrival.type,
            key=arrival.key[1] if arrival.context else "",
            handler=self._handlers[arrival.type].name,
            first=True,
        )
        _log.warning("event handler failed; storing the event as a task", **said)
        due_at = time.time() + backoff(1, self._settings)
        return await self._database.transaction(
            lambda tx: batch.store_failed(
                tx, arrival, at, error, due_at, self._version, self._take_in
            )
        )

    async def _connection_lost(
        self, part: list[Arrival], at: Mapping[str, Position], error: ConnectionLost
    ) -> None:
        """Is the database away, or does an event's handler end its connection each time?

        The events of this part run alone when they come again; one that does it twice has failed.
        """
        await self._database.check()
        self._alone_until = part[-1].position.sequence
        if len(part) > 1:
            return
        (arrival,) = part
        place = arrival.subject, arrival.position.number
        if place not in self._lost_connection:
            self._lost_connection.add(place)
            return
        self._lost_connection.clear()
        known = await self._database.read(lambda tx: self._load(tx.session))
        if known[arrival.place] == at[arrival.place]:
            await self._failed_alone(arrival, at, error)

    def _tell(self, part: list[Arrival], taken: Taken) -> None:
        now = time.time()
        if taken.seen:
            metrics.EVENTS_SEEN_AGAIN.labels(part[0].type).inc(taken.seen)
        for arrival in taken.handled:
            metrics.EVENTS_HANDLED.labels(arrival.type).inc()
            if arrival.context and arrival.context.time:
                latency = now - arrival.context.time.timestamp()
                metrics.EVENT_LATENCY_SECONDS.labels(arrival.type).observe(latency)
        if self._settings.log_events:
            for arrival in taken.handled:
                log_handled(arrival.type, arrival.event_id, arrival.key[1], tries=1)
        for arrival in taken.dead:
            _log.error(
                "event became a dead letter; later events of its key continue",
                event_id=arrival.event_id,
                subject=arrival.subject,
                reason=arrival.reason,
            )
        if taken.tasks:
            self._on_tasks()


def _split(part: list[Arrival], failing: Iterable[Arrival]) -> list[list[Arrival]]:
    """The failing events each alone, what is between them together, all in order."""
    alone = {id(arrival) for arrival in failing}
    parts: list[list[Arrival]] = [[]]
    for arrival in part:
        if id(arrival) in alone:
            parts += [[arrival], []]
        else:
            parts[-1].append(arrival)
    return [p for p in parts if p]


def _traceparents(arrivals: list[Arrival]) -> list[str]:
    return [span for arrival in arrivals if (span := arrival.published.traceparent)]
