"""The handling side of a service's event path: a reader for each stream, and the task runner."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import structlog

from chassis.database import Database
from chassis.event_settings import EventSettings
from chassis.events.cleanup import Cleanup
from chassis.events.consumer.dependencies import ReaderDependencies
from chassis.events.consumer.foreign_reader import ForeignReader
from chassis.events.consumer.reader import Reader
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.pauses import Pauses
from chassis.events.handlers.router import Foreign
from chassis.events.jetstream.broker import Broker
from chassis.events.membership.members import Members
from chassis.events.tasks.gate import Gate
from chassis.events.tasks.runner import TaskRunner
from chassis.events.wire.contracts import source_service, stream_of

__all__ = ["Consuming"]

_log = structlog.get_logger(__name__)


class Consuming:
    """Creates the parts that handle events and the gate and the paused types that they share."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        database: Database,
        broker: Broker,
        members: Members,
        settings: EventSettings,
    ) -> None:
        gate = Gate()
        self.pauses = Pauses(database, settings.net_seconds)
        self.task_runner = TaskRunner(
            database,
            handlers,
            member=members.member,
            version=members.version,
            versions_of=members.versions_of,
            canaries=members.canaries,
            settings=settings,
            gate=gate,
            pauses=self.pauses,
        )
        self.pauses.on_change(self.task_runner.wake)
        members.on_change(self.task_runner.orphans.wake)
        self.cleanup = Cleanup(database, members, settings)
        dependencies = ReaderDependencies(
            database=database,
            broker=broker,
            members=members,
            gate=gate,
            pauses=self.pauses,
            settings=settings,
            on_tasks=self.task_runner.tasks_stored,
        )
        self.readers = [
            Reader(stream, of_stream, dependencies)
            for stream, of_stream in sorted(_handlers_by_stream(handlers).items())
        ]
        self.foreign_readers = [
            ForeignReader(foreign, of_foreign, dependencies)
            for foreign, of_foreign in sorted(_handlers_by_foreign_subject(handlers).items())
        ]

    @property
    def all_readers(self) -> list[Reader | ForeignReader]:
        """The readers of the platform's own streams and of foreign ones."""
        return [*self.readers, *self.foreign_readers]

    def background_work(self) -> list[Coroutine[Any, Any, None]]:
        """Return what must run in the background, apart from the readers."""
        return [self.pauses.run(), self.task_runner.run(), self.cleanup.run()]

    async def stop(self, reading: list[asyncio.Task[None]], seconds: float) -> None:
        """Start no more work, finish what is running within `seconds`, then release the lanes.

        `reading` are the tasks in which the readers run; those that need longer are cancelled.
        """
        for reader in self.all_readers:
            await reader.stop()
        await self.task_runner.stop(seconds)
        if reading:
            _, late = await asyncio.wait(reading, timeout=seconds)
            for task in late:
                task.cancel()
        for reader in self.all_readers:
            try:
                await reader.release_lanes()
            except Exception as error:
                _log.warning(
                    "lanes not released; the next owner handles their first events one by one",
                    stream=reader.stream,
                    error=str(error),
                )

    def refresh(self) -> None:
        """Read at once what an operator may have changed. Call on the event loop."""
        self.pauses.look_again()
        for reader in self.all_readers:
            reader.refresh()
        self.task_runner.wake()

    @property
    def hindrance(self) -> str:
        """Why streams of the platform cannot be read; empty if they can."""
        return "; ".join(sorted({r.hindrance.reason for r in self.readers if r.hindrance.reason}))


def _handlers_by_stream(handlers: Mapping[str, Handler]) -> dict[str, dict[str, Handler]]:
    """Group the handlers of the platform's events by stream."""
    streams: dict[str, dict[str, Handler]] = {}
    for type, handler in handlers.items():
        if handler.foreign is None:
            streams.setdefault(stream_of(source_service(type)), {})[type] = handler
    return streams


def _handlers_by_foreign_subject(
    handlers: Mapping[str, Handler],
) -> dict[Foreign, dict[str, Handler]]:
    """Group the handlers of foreign events by stream and subject."""
    foreign: dict[Foreign, dict[str, Handler]] = {}
    for type, handler in handlers.items():
        if handler.foreign:
            foreign.setdefault(handler.foreign, {})[type] = handler
    return foreign
