"""A database that fails while events are handled costs no try and loses no event."""

import asyncio

import pytest
from bookshop import Node, TestSettings, accountant, eventually
from reading import events_counted, has_taken, taken_ids
from relaying import Shop, in_order
from sqlalchemy import event

from chassis.database import DatabaseDown
from localservers import NatsServer, PostgresServer

TYPE = "bookstore.v1.BookSold"


async def is_down(node: Node) -> None:
    """Wait until the database is unavailable."""

    async def holds() -> bool:
        try:
            await node.database.check()
        except DatabaseDown:
            return True
        return False

    await eventually(holds)


def next_transaction(node: Node) -> asyncio.Event:
    """Return an event that is set when the node begins its next transaction or its next read.

    A reader that looks for changes of its lanes takes no event meanwhile.
    """
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    def begin(_connection: object) -> None:
        loop.call_soon_threadsafe(begun.set)

    for engine in (node.database.engine, node.database.read_engine):
        event.listen(engine, "begin", begin)
    return begun


@pytest.mark.parametrize("how", ["stopped", "killed", "paused"])
async def test_reading_waits_for_the_database(
    how: str, nats: NatsServer, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shop")
    name = f"books_{how}"
    postgres.create_database(name)
    before = events_counted("events_failed_total")
    settings = TestSettings(batch_max_events=10)
    async with (
        Shop(f"sqlite:///{folder}/shop.db") as shop,
        Node(
            "books", postgres.url(name), nats.url, router=accountant(), settings=settings
        ) as books,
    ):
        shop.start_relay(nats.url)
        await shop.sell(range(100))
        await has_taken(books, 10)
        try:
            if how == "paused":
                await has_taken(books, 100)
                postgres.pause()
                begun = next_transaction(books)
                await shop.sell(range(100, 200))
                await asyncio.wait_for(begun.wait(), 60)
            else:
                postgres.kill() if how == "killed" else postgres.stop()
                await shop.sell(range(100, 200))
                await is_down(books)
        finally:
            if postgres.running:
                postgres.resume()
            postgres.start()
        await has_taken(books, 200)
        assert in_order(await taken_ids(books), shop.published)
        ledger = await books.path.ledger()
        assert (ledger.tasks, ledger.dead_letters, ledger.stopped) == (0, 0, ())
    assert events_counted("events_failed_total") == before
