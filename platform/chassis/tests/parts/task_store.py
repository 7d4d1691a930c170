"""Tasks in a database and members that run them, without a broker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any

from bookshop import TestSettings, journal, prepare_database
from google.protobuf.message import Message
from sqlalchemy import select

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter
from chassis.calls import StubOf, no_stub
from chassis.database import Database, tables
from chassis.event_settings import EventSettings
from chassis.events.handlers.binding import bind_all
from chassis.events.membership.canaries import Canaries
from chassis.events.producer.event_factory import EventFactory
from chassis.events.tasks import storage
from chassis.events.tasks.gate import Gate
from chassis.events.tasks.runner import TaskRunner

__all__ = ["TaskStore"]


class TaskStore:
    """The tasks of a service."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._events = EventFactory("bookstore", (BookSold, BookReturned))
        prepare_database(url)
        self.database = self.connect()

    def connect(self) -> Database:
        """Open the database for one member."""
        return Database(self.url, self._events)

    def close(self) -> None:
        self.database.close()

    async def add(self, *messages: Message, **columns: object) -> list[EventContext]:
        """Make tasks of events as if their handlers had failed."""
        contexts, rows = [], []
        for message in messages:
            context, row = self._events.create(message, None)
            contexts.append(context)
            rows.append(
                {
                    "source": context.source,
                    "key": context.partition_key,
                    "event_id": context.id,
                    "type": context.type,
                    "subject": row.subject,
                    "headers": row.headers,
                    "data": row.data,
                    **columns,
                }
            )
        await self.database.transaction(lambda tx: storage.store(tx.session, rows))
        return contexts

    @asynccontextmanager
    async def member(
        self,
        name: str,
        router: EventRouter,
        settings: EventSettings | None = None,
        *,
        stub_of: StubOf = no_stub,
        version: str = "",
        versions_of: Callable[[str], Collection[str] | None] = lambda _type: (),
        canaries: Callable[[], Canaries] = Canaries,
        database: Database | None = None,
        gate: Gate | None = None,
    ) -> AsyncIterator[TaskRunner]:
        """Run a member with these handlers, and stop it in order at the end of the block."""
        chosen = settings or TestSettings()
        database = database or self.connect()
        handlers, _ = bind_all([router], chosen, stub_of)
        runner = TaskRunner(
            database,
            handlers,
            member=name,
            settings=chosen,
            gate=gate or Gate(),
            version=version,
            versions_of=versions_of,
            canaries=canaries,
        )
        running = asyncio.create_task(runner.run())
        try:
            yield runner
        finally:
            await runner.stop(5)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await asyncio.to_thread(database.close)

    async def rows(self) -> list[Any]:
        return await self.select_all(select(tables.tasks).order_by(tables.tasks.c.id))

    async def dead(self) -> list[Any]:
        return await self.select_all(select(tables.dead_letters).order_by(tables.dead_letters.c.id))

    async def written(self) -> list[str]:
        """Return the ids of the events in the journal, in order."""
        return [
            row.event_id for row in await self.select_all(select(journal).order_by(journal.c.id))
        ]

    async def is_empty(self) -> bool:
        return not await self.rows()

    async def select_all(self, statement: Any) -> list[Any]:
        return await self.database.read(lambda tx: list(tx.session.execute(statement)))
