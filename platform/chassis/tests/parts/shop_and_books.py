"""A bookshop that publishes events and a service that handles them, for one test."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from bookshop import Node, TestSettings, eventually
from nats.aio.client import Client
from reading import events_counted
from relaying import Shop
from sqlalchemy import Engine, event, select

from bookstore.v1 import BookReturned, BookSold
from chassis import EventRouter
from chassis.database.tables import dead_letters, tasks
from chassis.event_settings import EventSettings
from chassis.events.consumer.deliveries import Deliveries
from chassis.events.jetstream.api import StreamGone, api_request
from chassis.events.jetstream.delivery import Delivery
from chassis.events.jetstream.streams import stream_state
from localservers import NatsServer

__all__ = [
    "Patience",
    "Statements",
    "dead",
    "failures",
    "in_one_batch",
    "rows_of_tasks",
    "running_books",
    "running_shop",
    "settled",
    "shop_and_books",
]


@asynccontextmanager
async def running_shop(nats: NatsServer, new_database: Callable[[str], str]) -> AsyncIterator[Node]:
    """Run the service that publishes."""
    shop = Node("bookstore", new_database("shop"), nats.url, publishes=[BookSold, BookReturned])
    await shop.start()
    try:
        yield shop
    finally:
        await shop.close()


@asynccontextmanager
async def running_books(
    nats: NatsServer,
    url: str,
    router: EventRouter,
    *,
    settings: EventSettings | None = None,
    member: str | None = None,
) -> AsyncIterator[Node]:
    """Run a replica of the service that handles the events; stop it in order."""
    books = Node("books", url, nats.url, router=router, settings=settings, member=member)
    await books.start()
    try:
        yield books
    finally:
        await books.stop()


@asynccontextmanager
async def shop_and_books(
    nats: NatsServer,
    new_database: Callable[[str], str],
    router: EventRouter,
    *,
    settings: EventSettings | None = None,
) -> AsyncIterator[tuple[Node, Node]]:
    """Run the shop and one replica of the service that handles its events."""
    async with (
        running_shop(nats, new_database) as shop,
        running_books(nats, new_database("books"), router, settings=settings) as books,
    ):
        yield shop, books


async def settled(*nodes: Node, seconds: float = 60) -> None:
    """Wait until all nodes are settled, one after the other.

    Name those that publish first: events that are not in the stream yet do not count as lag.
    """
    for node in nodes:
        await node.settled(seconds)


class Patience(TestSettings):
    """The safety net does not check for missed events while a test holds deliveries back."""

    net_seconds: float = 60


@asynccontextmanager
async def in_one_batch(shop: Node, books: Node) -> AsyncIterator[None]:
    """Deliver all events that are published in the block as one batch at its end.

    The settings of `books` must be Patience.
    """
    client = shop.path.broker.client

    async def reads() -> bool:
        return bool((await api_request(client, "CONSUMER.NAMES.bookstore", {}))["consumers"])

    await eventually(reads)
    before = await _last_sequence(client)
    held: list[tuple[Deliveries, Delivery]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Deliveries, "add", lambda *delivery: held.append(delivery))
        yield
        await shop.settled()

        async def all_delivered() -> bool:
            return len(held) == await _last_sequence(client) - before

        await eventually(all_delivered)
    for deliveries, message in held:
        deliveries.add(message)


async def _last_sequence(client: Client) -> int:
    try:
        return (await stream_state(client, "bookstore")).last_sequence
    except StreamGone:
        return 0


@dataclass
class Statements:
    """The statements of each transaction of a database, in order."""

    committed: list[list[str]] = field(default_factory=list)
    rolled_back: list[list[str]] = field(default_factory=list)

    def watch(self, books: Node | Shop) -> None:
        self.watch_engine(books.database.engine)

    def watch_engine(self, engine: Engine) -> None:
        open_: dict[int, list[str]] = {}

        @event.listens_for(engine, "before_cursor_execute")
        def execute(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            open_.setdefault(id(connection.connection.dbapi_connection), []).append(statement)

        @event.listens_for(engine, "commit")
        def commit(connection: Any) -> None:
            self.committed.append(open_.pop(id(connection.connection.dbapi_connection), []))

        @event.listens_for(engine, "rollback")
        def rollback(connection: Any) -> None:
            self.rolled_back.append(open_.pop(id(connection.connection.dbapi_connection), []))

    @property
    def takes(self) -> list[list[str]]:
        """The committed transactions that moved positions, without BEGIN."""
        moving = [t for t in self.committed if any("UPDATE slipway_position" in s for s in t)]
        return [[s for s in t if not s.startswith("BEGIN")] for t in moving]


async def dead(books: Node) -> list[Any]:
    """Return the dead letters, oldest first."""
    statement = select(dead_letters).order_by(dead_letters.c.id)
    return await books.database.read(lambda tx: list(tx.session.execute(statement)))


def failures() -> float:
    """Return how often handling a sold book has failed in this process, by the metric."""
    return events_counted("events_failed_total")


async def rows_of_tasks(books: Node) -> list[Any]:
    """Return the tasks, oldest first."""
    statement = select(tasks).order_by(tasks.c.id)
    return await books.database.read(lambda tx: list(tx.session.execute(statement)))
