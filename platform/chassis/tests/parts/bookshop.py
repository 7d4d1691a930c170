"""A shop and an accountant for the tests: two services in one process, with real servers.

The shop publishes BookSold and BookReturned; the accountant records the events that it handles in a
journal, in order.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

from google.protobuf.message import Message
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    select,
)

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.database import Database, migrate
from chassis.event_settings import EventSettings
from chassis.events.handlers.binding import bind_all
from chassis.events.jobs import PeriodicJob
from chassis.events.path import EventPath
from chassis.events.producer.event_factory import EventFactory
from chassis.events.wire.contracts import event_type

metadata = MetaData()
journal = Table(
    "journal",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("event_id", String(64)),
    Column("type", String(64)),
    Column("book_id", String(64)),
    Column("customer_id", String(64)),
    Column("member", String(64)),
)
# A statement that is built once costs the tests a tenth of one that is built for each event.
_INSERT = insert(journal)


class TestSettings(EventSettings):
    """Settings with short intervals."""

    __test__ = False

    member_ttl_seconds: int = 1
    task_backoff_seconds: float = 0.02
    task_lease_seconds: float = 1
    relay_sweep_seconds: float = 0.2
    relay_reconcile_seconds: float = 1
    net_seconds: float = 0.5
    stopped_retry_seconds: float = 0.5


class Node:
    """A replica of a service: its database and its event path, in this process."""

    def __init__(
        self,
        service: str,
        url: str,
        nats_url: str,
        *,
        router: EventRouter | None = None,
        publishes: Sequence[type[Message]] = (),
        settings: EventSettings | None = None,
        version: str = "1",
        member: str | None = None,
        jobs: Sequence[PeriodicJob] = (),
    ) -> None:
        self.url = url
        self.settings = settings or TestSettings()
        event_factory = EventFactory(service, tuple(publishes))
        self.database = Database(url, event_factory)
        handlers, broadcasts = bind_all([router] if router else [], self.settings)
        self.fatal: list[Exception] = []
        self._closed = False
        self.path = EventPath(
            service=service,
            version=version,
            nats_url=nats_url,
            settings=self.settings,
            database=self.database,
            handlers=handlers,
            broadcasts=broadcasts,
            publishes=[event_type(message) for message in publishes],
            on_fatal=self.fatal.append,
            member=member,
            jobs=jobs,
        )

    async def start(self) -> Self:
        await asyncio.to_thread(prepare_database, self.url)
        await self.path.start()
        return self

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        if not self._closed:
            await self.stop()

    async def stop(self) -> None:
        """Stop in order, as a service does."""
        await self.path.stop_handling(2)
        await self.path.flush(2)
        await self.close()

    async def close(self) -> None:
        """Stop without releasing anything, as after a kill of the process."""
        self._closed = True
        await self.path.close()
        await asyncio.to_thread(self.database.close)

    async def publish(self, *messages: Message) -> list[EventContext]:
        return await self.database.transaction(lambda tx: [tx.publish(m) for m in messages])

    async def journal(self) -> list[Any]:
        return await self.database.read(
            lambda tx: list(tx.session.execute(select(journal).order_by(journal.c.id)))
        )

    async def settled(self, seconds: float = 60) -> None:
        """Wait until this service has no unsent events, no lag and no tasks.

        Wait for the producers first: events that they have not sent yet do not count as lag.
        """

        async def is_settled() -> bool:
            ledger = await self.path.ledger()
            return not (ledger.unsent or ledger.lag or ledger.tasks)

        await eventually(is_settled, seconds)


_prepared: set[str] = set()


def note_prepared(url: str) -> str:
    """Note that a database is a copy of a prepared one, and return its URL."""
    _prepared.add(url)
    return url


def is_prepared(url: str) -> bool:
    """Return whether a database was noted as prepared."""
    return url in _prepared


def prepare_database(url: str) -> None:
    """Create the tables of a service and those of the tests, if they are not noted to exist."""
    if is_prepared(url):
        return
    migrate(url)
    engine = create_engine(url)
    metadata.create_all(engine)
    engine.dispose()


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Wait until a condition holds; an error of the condition counts as not holding.

    The pauses between its checks grow to 0.1 s, because most conditions read the database: on a
    busy machine, tests that wait would keep the others from running.

    Raises:
        AssertionError: it does not hold within `seconds`; caused by the last error, if any.
    """
    deadline, pause = time.monotonic() + seconds, 0.01
    while True:
        last: Exception | None = None
        try:
            if await condition():
                return
        except Exception as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s") from last
        await asyncio.sleep(pause)
        pause = min(1.5 * pause, 0.1)


def write_down(tx: Transaction, event: EventContext, member: str = "") -> None:
    """Record an event in the journal."""
    row = {"event_id": event.id, "type": event.type, "book_id": event.partition_key}
    tx.session.execute(_INSERT, {**row, "customer_id": "", "member": member})


def accountant(member: str = "") -> EventRouter:
    """Return handlers that record each event in the journal."""
    events = EventRouter()

    @events.on(BookSold)
    def sold(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event, member)

    @events.on(BookReturned)
    def returned(book: BookReturned, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event, member)

    return events


def sold(number: int, keys: int = 40) -> BookSold:
    """Return a sold book, one of `keys` different ones, for the customer `number`."""
    return BookSold(book_id=f"book-{number % keys}", customer_id=str(number), price=number)
