"""Events run one by one after a lost connection to the database: those of that batch, no others."""

from pathlib import Path

from bookshop import Node, TestSettings, accountant, eventually, write_down
from reading import has_taken, taken_ids
from relaying import STREAM, RunningRelay, Shop, StreamView, in_order
from shop_and_books import Statements
from sqlalchemy import text

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.position import Position
from localservers import NatsServer, PostgresServer

AN_HOUR = TestSettings(stream_max_age_seconds=3600)


async def test_events_of_a_recreated_stream_run_together_at_the_sequences_of_a_lost_batch(
    nats: NatsServer, tmp_path: Path, postgres: PostgresServer
) -> None:
    once = [True]
    events = EventRouter()

    @events.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        if once and once.pop():
            tx.session.execute(text("select pg_terminate_backend(pg_backend_pid())"))
        write_down(tx, event)

    postgres.create_database("lost_connection")
    async with Shop(f"sqlite:///{tmp_path}/shop.db", settings=AN_HOUR) as shop:
        relay = shop.start_relay(nats.url)
        async with Node("books", postgres.url("lost_connection"), nats.url, router=events) as books:
            await shop.sell(range(40))
            await has_taken(books, 40)
            assert not once
            await recreate_stream(nats, shop, relay)
            statements = Statements()
            statements.watch(books)
            await shop.sell(range(40, 70))
            await has_taken(books, 70)
            assert len(statements.takes) < 30
            assert in_order(await taken_ids(books), shop.published)


async def test_a_stream_that_ends_before_the_lost_batch_holds_none_of_it(
    nats: NatsServer, tmp_path: Path
) -> None:
    async with Shop(f"sqlite:///{tmp_path}/shop.db", settings=AN_HOUR) as shop:
        relay = shop.start_relay(nats.url)
        async with Node(
            "books", f"sqlite:///{tmp_path}/books.db", nats.url, router=accountant()
        ) as books:
            await shop.sell(range(40))
            await has_taken(books, 40)
            # The broker is lost before that batch has arrived a second time.
            lost = Arrival("it.happened.0", "it.happened", 0, Position(1000, "", 1000), {}, b"")
            books.path.readers[0].committer.one_by_one.connection_lost([lost])
            await recreate_stream(nats, shop, relay)
            statements = Statements()
            statements.watch(books)
            await shop.sell(range(40, 70))
            await has_taken(books, 70)
            assert len(statements.takes) < 30


async def recreate_stream(nats: NatsServer, shop: Shop, relay: RunningRelay) -> None:
    """Erase the broker; the events were sent too long ago to be sent again."""
    view = StreamView(nats.url)

    async def is_empty() -> bool:
        return bool((await view.api(f"STREAM.INFO.{STREAM}"))["state"]["messages"] == 0)

    await shop.marked(40)
    await relay.stop()
    await shop.pass_time(2 * AN_HOUR.stream_max_age_seconds)
    nats.kill()
    nats.erase()
    nats.start()
    shop.start_relay(nats.url)
    await eventually(is_empty)
