"""Every event takes effect once and in order although two replicas believe to own its lane."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bookshop import Node, TestSettings, accountant, eventually, note_prepared, write_down
from owners import contest, count_refusals, ignore_marks, isolate
from reading import has_taken, taken_ids
from relaying import Shop, in_order
from replicas import Replicas
from sqlalchemy import update
from structlog.testing import capture_logs

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.database.tables import positions
from chassis.events.wire.contracts import subject_of
from chassis.events.wire.lanes import lane_of
from localservers import NatsServer, PostgresServer

pytestmark = pytest.mark.dialect


def slow_accountant(member: str, begun: Callable[[], object]) -> EventRouter:
    """Return handlers that call `begun` and then sleep, once in 50 books."""
    events = EventRouter()

    @events.on(BookSold)
    def sold(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event, member)
        if book.price % 50 == 0:
            begun()
            time.sleep(0.3)

    return events


async def test_a_slow_and_a_fast_replica_contest_every_lane(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ignore_marks(monkeypatch)
    refusals = count_refusals(monkeypatch)
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    router = slow_accountant("slow", lambda: loop.call_soon_threadsafe(begun.set))
    url, settings = new_database("books"), TestSettings(batch_max_events=50)
    slow = Node("books", url, nats.url, router=router, settings=settings)
    fast = Node("books", url, nats.url, router=accountant("fast"), settings=settings)
    isolate(slow)
    isolate(fast)
    async with Shop(new_database("shop")) as shop, slow, fast:
        shop.start_relay(nats.url)

        # The fast replica has committed the events that the slow one has in hand.
        may_go_on = asyncio.Event()
        contest(fast, slow, [], may_go_on)
        await shop.sell(range(100))
        await has_taken(fast, 100)
        assert not refusals
        may_go_on.set()
        await until(lambda: bool(refusals))

        # The fast replica commits while the slow one's transaction is open.
        for start in (100, 200):
            refusals.clear()
            begun.clear()
            contest(slow, fast, [e.id for e in shop.published], begun)
            await shop.sell(range(start, start + 100))
            await has_taken(slow, start + 100)
            await until(lambda: bool(refusals))
        await slow.settled()
        assert in_order(await taken_ids(slow), shop.published)
        assert {e.member for e in await slow.journal()} == {"slow", "fast"}


async def test_replicas_that_do_not_know_each_other_suspect_and_contest(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = count_refusals(monkeypatch)
    url, settings = new_database("books"), TestSettings(batch_max_events=20)
    nodes = [
        Node("books", url, nats.url, router=accountant(member), member=member, settings=settings)
        for member in ("one", "other")
    ]
    for node in nodes:
        isolate(node)
    async with Shop(new_database("shop")) as shop, nodes[0], nodes[1]:
        shop.start_relay(nats.url)
        with capture_logs() as log:
            for first, second in (nodes, nodes[::-1]):
                refusals.clear()
                may_go_on = asyncio.Event()
                contest(first, second, [e.id for e in shop.published], may_go_on)
                await shop.sell(range(len(shop.published), len(shop.published) + 60))
                await has_taken(first, len(shop.published))
                may_go_on.set()
                await until(lambda: bool(refusals))
        assert [line for line in log if "member died" in line["event"]]
        await nodes[0].settled()
        assert in_order(await taken_ids(nodes[0]), shop.published)


@pytest.mark.long
async def test_a_replica_that_is_stopped_with_a_batch_and_continued_handles_nothing_twice(
    nats: NatsServer, new_database: Callable[[str], str], replicas: Replicas, tmp_path: Path
) -> None:
    url, log = new_database("books"), tmp_path / "old.log"
    books = Node("books", url, nats.url, router=accountant("new"), member="new")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(60))
        await shop.sent()
        settings = {"batch_max_events": 10}
        stopped = replicas.start(
            url, nats.url, "old", stop_after=20, settings=settings, log=str(log)
        )
        await stopped.is_stopped()
        async with books:
            await shop.sell(range(60, 120))
            await has_taken(books, 120)
            stopped.send(signal.SIGCONT)
            await until(lambda: "commit refused" in log.read_text(encoding="utf-8"))
            await shop.sell(range(120, 160))
            await has_taken(books, 160)
            await books.settled()
            assert in_order(await taken_ids(books), shop.published)
            assert {e.member for e in await books.journal()} == {"old", "new"}


async def until(holds: Callable[[], bool]) -> None:
    async def condition() -> bool:
        return holds()

    await eventually(condition)


@pytest.mark.long
async def test_a_replica_that_is_stopped_for_long_does_not_keep_its_locks(
    nats: NatsServer,
    postgres: PostgresServer,
    prepared_postgres: str,
    tmp_path: Path,
    replicas: Replicas,
) -> None:
    """This needs PostgreSQL: on SQLite, a stopped process keeps the lock of the file."""
    # A migration by the replica could be idle for longer than it may.
    url = note_prepared(postgres.create_database("stopped_for_ever", template=prepared_postgres))
    books = Node("books", url, nats.url, router=accountant("new"), member="new")
    async with Shop(f"sqlite:///{tmp_path}/shop.db") as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(40))
        await shop.sent()
        stopped = replicas.start(url, nats.url, "old", stop_at=10, idle_seconds=1)
        await stopped.is_stopped()
        async with books:
            await has_taken(books, 40)
            # The stopped replica continues, its commit is refused, and it continues to read.
            stopped.send(signal.SIGCONT)
            await shop.sell(range(40, 80))
            await has_taken(books, 80)
            await books.settled()
            assert in_order([e.event_id for e in await books.journal()], shop.published)


async def test_a_refused_replicas_other_lanes_continue(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    # The contested lane is not read for 24 to 72 seconds, which is longer than the test.
    settings = TestSettings(member_ttl_seconds=120)
    books = Node("books", new_database("books"), nats.url, router=accountant(), settings=settings)
    await books.start()
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(40))
        await has_taken(books, 40)
        contested = subject_of("bookstore.v1.BookSold", lane_of("book-0"))
        await books.database.transaction(lambda tx: move_past_next(tx, contested))
        later = await shop.sell(range(40, 120))
        others = [e for e in later if lane_of(e.partition_key or "") != lane_of("book-0")]
        await has_taken(books, 40 + len(others))
        journal = [e.event_id for e in await books.journal()]
        assert in_order(journal[40:], others)
    await books.stop()


def move_past_next(tx: Transaction, subject: str) -> None:
    """Move a position as another replica does that handles the subject's next event."""
    next = {"number": positions.c.number + 1, "sequence": positions.c.sequence + 1}
    tx.session.execute(update(positions).where(positions.c.subject == subject).values(next))
