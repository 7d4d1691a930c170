"""A harness that runs a service's event handlers in tests, without a broker."""

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from sqlalchemy import MetaData, delete, select
from sqlalchemy.orm import Session

from chassis.calls import StubOf, undeclared_call
from chassis.database import Database, DeferredFailed, Transaction, tables
from chassis.database.outbox_rows import OutboxRow
from chassis.event_settings import EventSettings
from chassis.events.consumer import batch, position_rows
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.position import Position
from chassis.events.handlers.binding import Handler, bind_all
from chassis.events.handlers.router import EventRouter
from chassis.events.producer.event_factory import EventFactory
from chassis.events.tasks import claims
from chassis.events.tasks.attempts import Attempts
from chassis.events.tasks.queue import TaskFilter
from chassis.events.tasks.task import Task
from chassis.events.wire.context import EventContext
from chassis.events.wire.contracts import (
    ContractError,
    event_type,
    lane_of_subject,
    source_service,
    stream_of,
)
from chassis.events.wire.decoding import decode
from chassis.events.wire.encoding import encode
from chassis.events.wire.event_data import from_data, to_data
from chassis.events.wire.event_headers import NUMBER, number_value
from chassis.ids import uuid7
from chassis.parameters import DeclarationError
from chassis.source_use import undeclared_use
from chassis.sqlite_url import sqlite_url

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["HandlerHarness"]

T = TypeVar("T")


class HandlerHarness:
    """A service's handlers on a test database.

        with HandlerHarness.of(service) as orders:
            orders.handle(StockReserved(order_id="o-1"))
            assert orders.published == [OrderConfirmed(order_id="o-1")]
            with orders.session() as session:
                assert session.execute(select(...)).scalar_one() == "confirmed"

    Events are processed as in production, from their bytes to the commit, except for the broker
    and retries: `handle` raises the exception of a handler.

    Args:
        events: the router with the handlers, or several routers.
        publishes: every type of event that the handlers may publish.
        database_url: an empty or migrated database; by default a temporary SQLite file.
        tables: the service's tables; missing tables are created.
        settings: the settings for handlers that have a parameter for them.
        service: the name of the service, which is the source of published events.
        stubs: stubs by which `async def` handlers call other services, by contract.
        calls: the contracts that handlers may call; by default those of `stubs`.

    Raises:
        DeclarationError: a handler can't be called as it is declared, or calls a contract that is
            not in `calls`; from `of` also if the service's source uses what it does not declare.
    """

    def __init__(
        self,
        events: EventRouter | Sequence[EventRouter],
        *,
        publishes: Sequence[type[Message]] = (),
        database_url: str | None = None,
        tables: MetaData | None = None,
        settings: EventSettings | None = None,
        service: str = "service",
        stubs: Mapping[ServiceDescriptor, object] | None = None,
        calls: Sequence[ServiceDescriptor] | None = None,
    ) -> None:
        self.settings = settings or EventSettings()
        routers = [events] if isinstance(events, EventRouter) else events
        self._handlers, _ = bind_all(
            routers, self.settings, _stub_resolver(service, calls, stubs or {})
        )
        self._types = {event_type(message): message for message in publishes}
        self._folder = None if database_url else tempfile.TemporaryDirectory()
        url = database_url or sqlite_url(Path(self._folder.name) / "test.db")  # type: ignore[union-attr]
        self.database = Database(url, EventFactory(service, tuple(publishes)))
        _create_tables(self.database, tables)

    @classmethod
    def of(
        cls,
        service: "Service",
        *,
        database_url: str | None = None,
        settings: EventSettings | None = None,
        stubs: Mapping[ServiceDescriptor, object] | None = None,
    ) -> Self:
        """Return a harness with the handlers, tables and settings of a service."""
        if lines := undeclared_use(service):
            raise DeclarationError("\n".join(lines))
        return cls(
            service.events,
            publishes=service.publishes,
            database_url=database_url,
            tables=service.tables,
            settings=settings or service.settings_type(),
            service=service.name,
            stubs=stubs,
            calls=service.calls,
        )

    def handle(self, *messages: Message, cause: EventContext | None = None) -> list[EventContext]:
        """Process these events as one batch, in one commit; return their contexts.

        `cause` is the event that caused them. `async def` handlers run in another thread with its
        own event loop; `handle_async` runs them on the event loop of the test.

        Raises:
            LookupError: the service has no handler for a type.
            Exception: the exception of a handler; the batch has no effect then.
        """
        return _run_in_thread(self.handle_async(*messages, cause=cause))

    async def handle_async(
        self, *messages: Message, cause: EventContext | None = None
    ) -> list[EventContext]:
        """Process events like `handle`, on the running event loop."""
        sent = [self._encode(message, cause) for message in messages]

        def process(tx: Transaction, *, defers: bool) -> None:
            if defers:
                tx.defer_changes()
            arrivals, before = _arrivals_of(tx.session, sent)
            batch.process(tx, arrivals, before, batch.Processing(self._handlers))

        try:
            try:
                await self.database.transaction(partial(process, defers=len(sent) > 1))
            except DeferredFailed:
                await self.database.transaction(partial(process, defers=False))
        except batch.HandlerFailed as failure:
            raise failure.__cause__ or failure from None
        await self._run_tasks()
        return [context for context, _ in sent]

    @property
    def published(self) -> list[Message]:
        """The published and committed events, in order."""
        return [message for _, message in self.outbox()]

    def outbox(self) -> list[tuple[EventContext, Message]]:
        """Return the published events with their CloudEvents attributes, in order."""
        statement = select(tables.outbox).order_by(tables.outbox.c.id)
        with self.session() as session:
            rows = session.execute(statement).all()
        found = []
        for row in rows:
            received = decode(json.loads(row.headers), row.data)
            message = from_data(
                self._types[received.context.type], received.datacontenttype, received.data
            )
            found.append((received.context, message))
        return found

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a session that reads or fills the tables and commits at its end.

        Do not call a handler before its end: on SQLite, the handler would wait for this session.
        """
        with Session(self.database.engine) as session:
            yield session
            session.commit()

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run other code, such as an RPC or a job, in a transaction of the service."""
        return self.database.transact(work)

    def close(self) -> None:
        """Close the database; delete it if it is the temporary file."""
        self.database.close()
        if self._folder:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encode(
        self, message: Message, cause: EventContext | None
    ) -> tuple[EventContext, OutboxRow]:
        """Encode a message as its producer would, for the handler that receives it."""
        type = event_type(message.__class__)
        for handler in self._handlers.values():
            if handler.foreign and handler.message is message.__class__:
                return _encode_foreign(handler, message)
        if type not in self._handlers:
            raise LookupError(f"there is no handler for {type}")
        return EventFactory(source_service(type), (message.__class__,)).create(message, cause)

    async def _run_tasks(self) -> None:
        """Run the tasks of `async def` handlers; delete all tasks if a handler raises."""
        attempts = Attempts(self.database, self._handlers, self.settings)
        while claimed := await self.database.transaction(self._claim):
            for task in claimed:
                try:
                    await attempts.run(task)
                except Exception:
                    await self.database.transaction(lambda tx: _delete_tasks(tx.session))
                    raise

    def _claim(self, tx: Transaction) -> list[Task]:
        """Claim all due tasks, with a lease that outlives the test."""
        tasks = TaskFilter(list(self._handlers))
        limits = dict.fromkeys(self._handlers, 1000)
        return claims.claim(tx.session, tasks, limits, owner="test", lease_seconds=3600)[0]


def _stub_resolver(
    service: str,
    calls: Sequence[ServiceDescriptor] | None,
    stubs: Mapping[ServiceDescriptor, object],
) -> StubOf:
    """Return a function that finds the given stub of a contract."""

    def stub_of(contract: ServiceDescriptor, _stub: object) -> object:
        if calls is not None and (problem := undeclared_call(contract, calls, service)):
            raise LookupError(problem)
        if contract not in stubs:
            raise LookupError(
                f"calls {contract.full_name}; give the harness its stub: stubs={{...}}"
            )
        return stubs[contract]

    return stub_of


def _encode_foreign(handler: Handler, message: Message) -> tuple[EventContext, OutboxRow]:
    """Encode a message as a CloudEvent of a producer outside the platform."""
    context = EventContext(uuid7(), handler.type, "https://foreign.example", time=datetime.now(UTC))
    datacontenttype, data = to_data(message, "json")
    headers = json.dumps(encode(context, datacontenttype)).encode()
    return context, OutboxRow(context.id, f"{handler.type}.0", headers, data, time.time())


def _delete_tasks(session: Session) -> None:
    session.execute(delete(tables.tasks))


def _create_tables(database: Database, service_tables: MetaData | None) -> None:
    for metadata in (tables.metadata, service_tables):
        if metadata is not None:
            metadata.create_all(database.engine)


def _arrivals_of(
    session: Session, sent: Sequence[tuple[EventContext, OutboxRow]]
) -> tuple[list[Arrival], dict[str, Position]]:
    """Return the events as the next ones of their subjects, and the subjects' positions before."""
    before: dict[str, Position] = {}
    last: dict[str, Position] = {}
    arrivals = []
    for context, row in sent:
        subject = row.subject
        if subject not in before:
            before[subject] = last[subject] = _stored_position(session, context.type, subject)
        number = last[subject].number + 1
        last[subject] = Position(number, "test", number)
        headers = {**json.loads(row.headers), NUMBER: number_value(number)}
        lane = lane_of_subject(subject)
        arrivals.append(Arrival(subject, context.type, lane, last[subject], headers, row.data))
    return arrivals, before


def _stored_position(session: Session, type: str, subject: str) -> Position:
    """Return the position of a subject, which is created if it is missing."""
    try:
        stream = stream_of(source_service(type))
    except ContractError:  # Types of foreign producers do not contain a service's name.
        stream = "foreign"
    positions = position_rows.load(session, stream)
    if subject not in positions:
        positions[subject] = Position(0, "test", 0)
        position_rows.insert_new(session, stream, {subject: positions[subject]})
    return positions[subject]


def _run_in_thread(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine in a new thread, because this thread's event loop may be running."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="handle")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
