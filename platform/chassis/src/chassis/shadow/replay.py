"""Replays a recording to a service's handlers on a scratch database, from which nothing gets out.

While handlers run there is no connection to the broker, no relay, and no transaction on the
service's own tables; calls of other services and connections of `def` handlers are refused.
"""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chassis.database.scratch import ScratchDatabase
from chassis.events.handlers.binding import Handler, bind_all
from chassis.events.handlers.router import EventRouter
from chassis.events.producer.event_factory import EventFactory
from chassis.events.wire.event_data import to_data
from chassis.rpc.client import Clients
from chassis.settings import ServiceSettings
from chassis.shadow.arrivals import decoded_arrival, type_of
from chassis.shadow.handling import Handling
from chassis.shadow.masks import Masks
from chassis.shadow.outside import Outside
from chassis.shadow.published import Published
from chassis.shadow.recording import RecordedEvent, Recording
from chassis.shadow.results import Result, WrittenRow
from chassis.shadow.written_rows import copy_rows, written_rows

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["Allowed", "replay"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Permissions to reach the outside: calls of these services, and these `async def` handlers.

    A handler is named by its function or by its full name.
    """

    calls: Collection[str] = ()
    handlers: Collection[str] = ()

    def runs(self, handler: Handler) -> bool:
        """Return whether a handler is run: an `async def` one may do anything, so it is named."""
        names = (handler.name, handler.name.rpartition(".")[2])
        return handler.kind != "async" or any(name in self.handlers for name in names)


def replay(
    service: "Service", settings: ServiceSettings, recording: Recording, allowed: Allowed
) -> Iterator[Result | WrittenRow]:
    """Yield the result of each event and handler, then the rows that the handlers have written.

    It runs on a thread without an event loop.

    Raises:
        ConnectionLost: the scratch database has ended.
        sqlalchemy.exc.DBAPIError, ValueError: the scratch database cannot be made.
    """
    factory = EventFactory(
        service.name,
        service.publishes,
        format=settings.event_format,
        max_bytes=settings.event_max_bytes,
    )
    scratch = ScratchDatabase(settings.database_url.get_secret_value(), factory)
    masks = Masks(datetime.now(UTC))
    with asyncio.Runner() as loop:
        clients = Clients(service.name, service.calls, settings)
        try:
            scratch.prepare(service.name, service.migrations, service.tables)
            copies = service.shadow.copies if service.shadow else {}
            copy_rows(scratch, list(copies), recording.rows, masks)
            outside = Outside(clients, allowed.calls)
            outside.watch(scratch.engine)
            handlers = _handlers(service, settings, outside)
            handling = Handling(scratch, outside, loop, settings.task_timeout_seconds)
            shadow = _Shadow(handlers, handling, Published(service.publishes, masks), masks)
            for event in recording.events:
                yield from shadow.replay(event, allowed)
            yield from written_rows(scratch, service.tables, masks)
        finally:
            loop.run(clients.close())
            scratch.close()


def _handlers(
    service: "Service", settings: ServiceSettings, outside: Outside
) -> Mapping[str, Sequence[Handler]]:
    """Return the handlers of each type: first the one that restores state, then the service's."""
    restores: Sequence[EventRouter] = service.shadow.restores if service.shadow else ()
    found: dict[str, list[Handler]] = {}
    for routers in (restores, service.events):
        for type, handler in bind_all(routers, settings, outside.stub)[0].items():
            found.setdefault(type, []).append(handler)
    return found


class _Shadow:
    """The handlers of a run, and what it reports of each event."""

    def __init__(
        self,
        handlers: Mapping[str, Sequence[Handler]],
        handling: Handling,
        published: Published,
        masks: Masks,
    ) -> None:
        self._handlers = handlers
        self._handling = handling
        self._published = published
        self._masks = masks

    def replay(self, event: RecordedEvent, allowed: Allowed) -> Iterator[Result]:
        """Yield what each handler of an event's type does with it."""
        for value in event.headers.values():
            self._masks.learn(value)
        type = type_of(event)
        handlers = self._handlers.get(type, ())
        for handler in handlers:
            if allowed.runs(handler):
                yield self._handled(event, handler)
            else:
                yield Result(event.place, "", type, "", handler.name, "not run")
        if not handlers:
            yield Result(event.place, "", type, "", "", "not handled")

    def _handled(self, event: RecordedEvent, handler: Handler) -> Result:
        """Return what a handler does with an event."""
        arrival = decoded_arrival(event, handler)
        if arrival.reason or arrival.message is None:
            return Result(
                event.place, "", handler.type, "", handler.name, "undecodable", arrival.reason
            )
        self._masks.learn(to_data(arrival.message, "json")[1].decode())
        at, started = datetime.now(UTC), time.perf_counter()
        outcome, reason, rows = self._handling.run(handler, arrival)
        seconds = time.perf_counter() - started
        origin = arrival.event_id
        return Result(
            place=event.place,
            event=origin,
            type=handler.type,
            key=arrival.key[1],
            handler=handler.name,
            outcome=outcome,
            reason=str(self._masks.masked(reason, origin, at)),
            published=self._published.shown(rows, origin, at),
            seconds=seconds,
        )
