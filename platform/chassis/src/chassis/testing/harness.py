"""Runs a service's event handlers without a broker: give them an event, look at what they did."""

import asyncio
import json
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from sqlalchemy import MetaData, delete, select
from sqlalchemy.orm import Session

from chassis.calls import StubOf, undeclared_call
from chassis.database import Database, Transaction, tables
from chassis.database.engine import sqlite_url
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
from chassis.events.wire.contracts import ContractError, event_type, source_service, stream_of
from chassis.events.wire.decoding import decode
from chassis.events.wire.encoding import encode
from chassis.events.wire.event_data import from_data, to_data
from chassis.events.wire.event_headers import NUMBER, number_value
from chassis.ids import uuid7
from chassis.parameters import DeclarationError
from chassis.source_use import undeclared_use

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["HandlerHarness"]

T = TypeVar("T")


class HandlerHarness:
    """A service's handlers on a database of its own.

        with HandlerHarness.of(service) as orders:
            orders.handle(StockReserved(order_id="o-1"))
            assert orders.published == [OrderConfirmed(order_id="o-1")]
            with orders.session() as session:
                assert session.execute(select(...)).scalar_one() == "confirmed"

    An event passes through what it passes through in production, from its bytes to the commit;
    only the broker and the retries are left out: what a handler raises comes out of `handle`.

    Args:
        events: the router with the handlers, or several.
        publishes: every type of event the handlers may publish.
        database_url: an empty or migrated database; by default a new SQLite file, removed after.
        tables: the service's tables, made where they are missing.
        settings: what handlers that ask for settings get.
        service: the source of what is published.
        stubs: what `async def` handlers call other services by, for each contract they call.
        calls: the contracts they may call; by default those there are stubs of.

    Raises:
        DeclarationError: a handler can't be called as it is declared, or calls what is not in
            `calls`; by `of` also: the service's source publishes or calls what it doesn't declare.
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
        self._handlers, _ = bind_all(routers, self.settings, _given(service, calls, stubs or {}))
        self._types = {event_type(message): message for message in publishes}
        self._folder = None if database_url else tempfile.TemporaryDirectory()
        url = database_url or sqlite_url(Path(self._folder.name) / "test.db")  # type: ignore[union-attr]
        self.database = Database(url, EventFactory(service, tuple(publishes)))
        _create(self.database, tables)

    @classmethod
    def of(
        cls,
        service: "Service",
        *,
        database_url: str | None = None,
        settings: EventSettings | None = None,
        stubs: Mapping[ServiceDescriptor, object] | None = None,
    ) -> Self:
        """The handlers, tables and settings of a whole service."""
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
        """Let the service take these events as one batch, in one commit; returns what they were.

        `cause` is the event they follow from. An `async def` handler runs on an event loop and a
        thread of its own; where it shall run on the test's, use `handle_async`.

        Raises:
            LookupError: the service has no handler for the type.
            Exception: what the handler raised; then nothing of the batch took effect.
        """
        return _on_a_thread(self.handle_async(*messages, cause=cause))

    async def handle_async(
        self, *messages: Message, cause: EventContext | None = None
    ) -> list[EventContext]:
        """`handle` on the running event loop."""
        sent = [self._sent(message, cause) for message in messages]

        def take(tx: Transaction) -> None:
            arrivals, before = _arrive(tx.session, sent)
            batch.process(tx, arrivals, before, self._handlers)

        try:
            await self.database.transaction(take)
        except batch.HandlerFailed as failure:
            raise failure.__cause__ or failure from None
        await self._run_tasks()
        return [context for context, _ in sent]

    @property
    def published(self) -> list[Message]:
        """All that was published and committed so far, in order."""
        return [message for _, message in self.outbox()]

    def outbox(self) -> list[tuple[EventContext, Message]]:
        """What was published, each with its CloudEvents attributes."""
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
        """A session to look at the tables or to fill them; it commits at its end.

        Call no handler before that: on SQLite it would wait for this session.
        """
        with Session(self.database.engine) as session:
            yield session
            session.commit()

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run what is no handler, an RPC or a job, in a transaction of the service."""
        return self.database.transact(work)

    def close(self) -> None:
        """Close the database, and remove it if it was made here."""
        self.database.close()
        if self._folder:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sent(
        self, message: Message, cause: EventContext | None
    ) -> tuple[EventContext, Mapping[str, Any]]:
        type = event_type(message.__class__)
        for handler in self._handlers.values():
            if handler.foreign and handler.message is message.__class__:
                return _foreign(handler, message)
        if type not in self._handlers:
            raise LookupError(f"there is no handler for {type}")
        return EventFactory(source_service(type), (message.__class__,)).create(message, cause)

    async def _run_tasks(self) -> None:
        """What `async def` handlers left; an event whose handler raises is not kept."""
        attempts = Attempts(self.database, self._handlers, self.settings)
        while claimed := await self.database.transaction(self._claim):
            for task in claimed:
                try:
                    await attempts.run(task)
                except Exception:
                    await self.database.transaction(lambda tx: _forget_tasks(tx.session))
                    raise

    def _claim(self, tx: Transaction) -> list[Task]:
        look = TaskFilter(list(self._handlers))
        places = dict.fromkeys(self._handlers, 1000)
        return claims.claim(tx.session, look, places, owner="test", lease_seconds=3600)[0]


def _given(
    service: str,
    calls: Sequence[ServiceDescriptor] | None,
    stubs: Mapping[ServiceDescriptor, object],
) -> StubOf:
    def stub_of(contract: ServiceDescriptor, _stub: object) -> object:
        if calls is not None and (problem := undeclared_call(contract, calls, service)):
            raise LookupError(problem)
        if contract not in stubs:
            raise LookupError(
                f"calls {contract.full_name}; give the harness its stub: stubs={{...}}"
            )
        return stubs[contract]

    return stub_of


def _foreign(handler: Handler, message: Message) -> tuple[EventContext, Mapping[str, Any]]:
    """A CloudEvent as a producer outside the platform may send it."""
    context = EventContext(uuid7(), handler.type, "https://foreign.example", time=datetime.now(UTC))
    datacontenttype, data = to_data(message, "json")
    headers = json.dumps(encode(context, datacontenttype)).encode()
    return context, {"subject": f"{handler.type}.0", "headers": headers, "data": data}


def _forget_tasks(session: Session) -> None:
    session.execute(delete(tables.tasks))


def _create(database: Database, service_tables: MetaData | None) -> None:
    for metadata in (tables.metadata, service_tables):
        if metadata is not None:
            metadata.create_all(database.engine)


def _arrive(
    session: Session, sent: Sequence[tuple[EventContext, Mapping[str, Any]]]
) -> tuple[list[Arrival], dict[str, Position]]:
    """The events as if they came next in their streams, and where their subjects were."""
    before: dict[str, Position] = {}
    last: dict[str, Position] = {}
    arrivals = []
    for context, row in sent:
        subject = row["subject"]
        if subject not in before:
            before[subject] = last[subject] = _position(session, context.type, subject)
        number = last[subject].number + 1
        last[subject] = Position(number, "test", number)
        headers = {**json.loads(row["headers"]), NUMBER: number_value(number)}
        lane = int(subject.rpartition(".")[2])
        arrivals.append(Arrival(subject, context.type, lane, last[subject], headers, row["data"]))
    return arrivals, before


def _position(session: Session, type: str, subject: str) -> Position:
    try:
        stream = stream_of(source_service(type))
    except ContractError:  # as foreign producers name their types
        stream = "foreign"
    known = position_rows.load(session, stream)
    if subject not in known:
        known[subject] = Position(0, "test", 0)
        position_rows.insert_new(session, stream, {subject: known[subject]})
    return known[subject]


def _on_a_thread(work: Coroutine[object, object, T]) -> T:
    """Run it to its end, whether or not this thread has an event loop that runs."""
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
