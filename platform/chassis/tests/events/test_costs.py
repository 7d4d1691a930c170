"""The cost of an event in statements, commits, round trips and requests to the broker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import ModuleType

import pytest
from bookshop import Node, TestSettings, eventually, journal, sold, write_down
from proxy import Proxy
from relaying import Shop
from round_trips import ROWS, BrokerRequests, DatabaseTrips, kind
from shop_and_books import Patience, Statements, in_one_batch, shop_and_books
from sqlalchemy import bindparam, insert, update

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from chassis.database.engine import is_sqlite
from chassis.event_settings import EventSettings
from chassis.events import gauges
from chassis.events.producer import relay
from chassis.events.tasks import runner
from localservers import NatsServer

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]
# The relay looks at its outbox only when it is woken.
WOKEN = TestSettings(relay_sweep_seconds=600, relay_reconcile_seconds=600)


@pytest.fixture(params=[1, 100])
def events(request: pytest.FixtureRequest) -> int:
    """Numbers of events: a cost that is equal for both is not a cost per event."""
    count: int = request.param
    return count


class Costs:
    """The transactions of a database that hold a given statement, and their round trips."""

    def __init__(self, on_wire: bool) -> None:
        self._on_wire = on_wire
        self.statements = Statements()
        self.trips = DatabaseTrips()

    def of(self, statement: str) -> list[list[str]]:
        """Return statements by transaction. On PostgreSQL each is a round trip, COPY two, BEGIN
        and COMMIT two.
        """
        found = self.committed(statement)
        if self._on_wire:
            trips = [
                transaction for transaction in self.trips.transactions if statement in transaction
            ]
            assert trips == [["BEGIN", *_trips(statements), "COMMIT"] for statements in found]
        return found

    def storing(self, events: int) -> str:
        """Return the statement that stores this number of events in the outbox."""
        return f"{'COPY' if self._on_wire and events > 7 else 'INSERT'} slipway_outbox"

    def committed(self, statement: str) -> list[list[str]]:
        """Return the same without a check of round trips, because some began before."""
        committed = [[kind(s) for s in transaction] for transaction in self.statements.committed]
        return [transaction for transaction in committed if statement in transaction]

    def forget(self) -> None:
        """Forget what was counted."""
        self.statements.committed.clear()
        self.trips.transactions.clear()


def _trips(statements: list[str]) -> list[str]:
    return [
        trip
        for statement in statements
        for trip in ([statement, ROWS] if statement.startswith("COPY") else [statement])
    ]


@asynccontextmanager
async def counting(new_database: NewDatabase, name: str) -> AsyncIterator[tuple[str, Costs]]:
    """Yield the URL of a new database, and its costs."""
    url = new_database(name)
    costs = Costs(on_wire=not is_sqlite(url))
    async with costs.trips.counted(url) as counted:
        yield counted, costs


async def test_publishing_is_one_statement_in_its_transaction(
    new_database: NewDatabase, events: int
) -> None:
    async with counting(new_database, "shop") as (url, costs), Shop(url) as shop:
        costs.statements.watch(shop)
        await shop.sell(range(events))
        await shop.sell(range(events))
    storing = costs.storing(events)
    assert costs.of(storing) == [[storing]] * 2


NUMBERING = [
    "SELECT slipway_relay",
    "UPDATE slipway_outbox",
    "INSERT slipway_subject",
    "UPDATE slipway_relay",
]
RECORDING = ["SELECT slipway_relay", "UPDATE slipway_relay"]
# A round after a large batch also looks for new events, and finds none.
RECORDING_AND_LOOKING = ["SELECT slipway_relay", "UPDATE slipway_outbox", "UPDATE slipway_relay"]
LOOKING = ["SELECT slipway_relay", "UPDATE slipway_outbox"]


@asynccontextmanager
async def relaying(
    nats: NatsServer, new_database: NewDatabase, *, batch_events: int = 1000
) -> AsyncIterator[tuple[Shop, Costs, BrokerRequests]]:
    """Run a shop whose relay has begun, and is woken only by `Shop.wake`."""
    requests = BrokerRequests()
    async with (
        counting(new_database, "shop") as (url, costs),
        Proxy(nats.port, tap=requests.connection) as proxy,
        Shop(url, settings=WOKEN) as shop,
    ):
        costs.statements.watch(shop)
        shop.start_relay(proxy.url, batch_events=batch_events)

        async def has_looked() -> bool:
            return costs.committed("SELECT slipway_relay")[-1:] == [LOOKING]

        shop.wake()
        await eventually(has_looked)
        await shop.sell(range(100))
        await relayed(shop)
        costs.forget()
        requests.published.clear()
        requests.asked.clear()
        yield shop, costs, requests


async def relayed(shop: Shop) -> None:
    shop.wake()

    async def all_sent() -> bool:
        return await shop.unsent() == 0

    await eventually(all_sent)


async def test_a_batch_is_relayed_in_two_commits_and_one_request_to_the_broker(
    nats: NatsServer, new_database: NewDatabase, events: int
) -> None:
    async with relaying(nats, new_database) as (shop, costs, requests):
        await shop.sell(range(events))
        await relayed(shop)
        recording = RECORDING if events == 1 else RECORDING_AND_LOOKING
        assert costs.of("SELECT slipway_relay") == [NUMBERING, recording]
        end_of_batch = 1 if events > 1 else 0
        assert len(requests.published) == events + end_of_batch
        assert requests.asked == requests.published[-1:]


async def test_events_that_come_one_by_one_are_relayed_in_one_commit_each(
    nats: NatsServer, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "RECORD_SECONDS", 600)
    async with relaying(nats, new_database) as (shop, costs, requests):

        async def all_published() -> bool:
            return len(requests.published) == count

        for count in range(1, 6):
            await shop.sell(range(count, count + 1))
            shop.wake()
            await eventually(all_published)
        await relayed(shop)
        *numbering, recording = costs.of("SELECT slipway_relay")
        assert (numbering, recording) == ([NUMBERING] * 5, RECORDING_AND_LOOKING)


async def test_events_that_wait_for_a_later_batch_cost_nothing_before(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    async with relaying(nats, new_database, batch_events=100) as (shop, costs, requests):
        await shop.sell(range(450))
        await relayed(shop)
        first, *others, last = costs.of("SELECT slipway_relay")
        assert (first, last) == (NUMBERING, RECORDING_AND_LOOKING)
        assert others == [NUMBERING] * 4
        assert (len(requests.published), len(requests.asked)) == (450 + 5, 5)


TAKING = ["UPDATE slipway_position", "SELECT slipway_task"]


def one_by_one() -> EventRouter:
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    return router


def changing(handled: list[str]) -> EventRouter:
    router = EventRouter()
    change = (
        update(journal).where(journal.c.book_id == bindparam("book")).values(customer_id="changed")
    )

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction) -> None:
        tx.session.execute(change, {"book": book.book_id})
        tx.after_commit(lambda: handled.append(book.book_id))

    return router


def all_at_once() -> EventRouter:
    router = EventRouter()

    @router.on_batch(BookSold)
    def handle(books: Sequence[BookSold], tx: Transaction) -> None:
        tx.session.execute(insert(journal), [{"book_id": book.book_id} for book in books])
        for book in books:
            tx.publish(BookReturned(book_id=book.book_id))

    return router


def waiting() -> EventRouter:
    router = EventRouter()

    @router.on(BookSold)
    async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
        await transact(write_down, event)

    return router


async def taking(
    nats: NatsServer,
    new_database: NewDatabase,
    router: EventRouter,
    events: int,
    settings: EventSettings,
    handled: list[str] | None = None,
) -> Costs:
    """Return the costs of a batch of `events` events with different keys.

    It ends when all are in the journal, or in `handled`.
    """
    async with counting(new_database, "books") as (url, costs):
        urls = {"books": lambda _: url, "shop": new_database}
        async with shop_and_books(nats, lambda n: urls[n](n), router, settings=settings) as (
            shop,
            books,
        ):
            books.database.events = shop.database.events
            costs.statements.watch(books)
            async with in_one_batch(shop, books):
                await shop.publish(*(sold(n, keys=events) for n in range(events)))

            async def written() -> bool:
                found = await books.journal() if handled is None else handled
                return len(found) == events and not await waits()

            async def waits() -> int:
                return (await books.path.ledger()).tasks

            await eventually(written)
    return costs


async def test_a_batch_costs_one_commit_and_two_statements_besides_its_handlers(
    nats: NatsServer, new_database: NewDatabase, events: int
) -> None:
    costs = await taking(nats, new_database, one_by_one(), events, Patience())
    assert costs.of("UPDATE slipway_position") == [TAKING + ["INSERT journal"] * events]


async def test_changes_whose_results_are_not_used_cost_one_statement_for_all_events(
    nats: NatsServer, new_database: NewDatabase, events: int
) -> None:
    handled: list[str] = []
    costs = await taking(nats, new_database, changing(handled), events, Patience(), handled)
    # A statement is known to be built once when it runs for the second time.
    changes = ["UPDATE journal"] * min(events, 2)
    assert costs.of("UPDATE slipway_position") == [TAKING + changes]


async def test_a_batch_of_a_handler_of_lists_costs_the_same_however_long_it_is(
    nats: NatsServer, new_database: NewDatabase, events: int
) -> None:
    costs = await taking(nats, new_database, all_at_once(), events, Patience())
    assert costs.of("UPDATE slipway_position") == [
        [*TAKING, "INSERT journal", costs.storing(events)]
    ]


async def test_an_event_of_an_async_handler_costs_a_commit_and_few_statements(
    nats: NatsServer, new_database: NewDatabase, events: int
) -> None:
    settings = Patience(task_concurrency=100, task_lease_seconds=600)
    costs = await taking(nats, new_database, waiting(), events, settings)
    assert costs.of("UPDATE slipway_position") == [[*TAKING, "INSERT slipway_task"]]
    assert costs.of("INSERT journal") == [["DELETE slipway_task", "INSERT journal"]] * events
    assert costs.of("UPDATE slipway_task") == [["SELECT slipway_task", "UPDATE slipway_task"]]


RELAY_LOOKS = ["SELECT slipway_outbox"]
TASKS_LOOK = ["SELECT slipway_task"]
METRICS = [
    "SELECT slipway_outbox",
    "SELECT slipway_refused",
    "SELECT slipway_task",
    "SELECT slipway_dead_letter",
    "SELECT slipway_stopped_lane",
]
LAG = ["SELECT slipway_position"]
PAUSES = ["SELECT slipway_paused_type"]
MARKS = ["SELECT slipway_mark"]


async def test_each_look_of_an_idle_service_is_a_read_of_one_statement(
    nats: NatsServer, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(gauges, "MEASURE_SECONDS", 0.02)
    looks = {module.__name__: waits_of(module, monkeypatch) for module in (relay, runner)}
    settings = TestSettings(relay_sweep_seconds=0.02, relay_reconcile_seconds=600)
    node = Node(
        "bookstore",
        new_database("shop"),
        nats.url,
        router=one_by_one(),
        publishes=[BookSold],
        settings=settings,
    )
    writes, reads = Statements(), Statements()
    async with node:
        await node.publish(*(sold(n) for n in range(100)))
        await node.settled(60)
        writes.watch(node)
        reads.watch_engine(node.database.read_engine)
        before = {name: len(waits) for name, waits in looks.items()}

        async def looked_often() -> bool:
            return all(len(waits) > before[name] + 20 for name, waits in looks.items())

        await eventually(looked_often)
        looked = {name: len(waits) - before[name] for name, waits in looks.items()}
        # The first read may have begun before it was counted.
        read = [[kind(s) for s in transaction] for transaction in reads.rolled_back][1:]
        written = [*writes.committed, *writes.rolled_back, *reads.committed]
    known = (RELAY_LOOKS, TASKS_LOOK, METRICS, LAG, PAUSES, MARKS)
    others = [transaction for transaction in read if transaction and transaction not in known]
    # A read that had begun before the counting shows only its end: that of the metrics
    # is long.
    assert [t for t in others if t != METRICS[-len(t) :]] == []
    assert len(others) <= 1
    assert abs(read.count(RELAY_LOOKS) - looked[relay.__name__]) <= 2
    assert abs(read.count(TASKS_LOOK) - looked[runner.__name__]) <= 2
    assert not written


def waits_of(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that gets an entry for each wait of a module."""
    waits: list[float] = []
    wait_at_most = module.wait_at_most

    async def counted(changed: asyncio.Event, seconds: float) -> bool:
        waits.append(seconds)
        done: bool = await wait_at_most(changed, seconds)
        return done

    monkeypatch.setattr(module, "wait_at_most", counted)
    return waits
