"""Two replicas that both believe to own a lane: every event takes effect once, in order."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bookshop import Node, TestSettings, accountant, write_down
from owners import count_refusals, deaf, ignore_marks
from reading import has_taken
from relaying import Shop, in_order
from replicas import Replicas
from sqlalchemy import update

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.database.tables import positions
from chassis.events.contracts import subject_of
from chassis.events.lanes import lane_of
from chassis.testing import NatsServer, PostgresServer


def slow_accountant(member: str, seconds: float) -> EventRouter:
    events = EventRouter()

    @events.on(BookSold)
    def sold(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event, member)
        if book.price % 50 == 0:  # once a batch
            time.sleep(seconds)

    return events


async def test_a_slow_one_and_a_fast_one_contest_every_lane(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ignore_marks(monkeypatch)
    refusals = count_refusals(monkeypatch)
    url = new_database("books")
    settings = TestSettings(batch_max_events=50)
    nodes = []
    for member, seconds in (("slow", 0.3), ("fast", 0.0)):
        node = Node(
            "books",
            url,
            nats.url,
            router=slow_accountant(member, seconds),
            member=member,
            settings=settings,
        )
        deaf(node)
        nodes.append(await node.start())
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        for start in range(0, 400, 100):
            await shop.sell(range(start, start + 100))
            await has_taken(nodes[0], start + 50)
        await nodes[0].settled()
        assert in_order([e.event_id for e in await nodes[0].journal()], shop.published)
    # SQLite's one writer may let them take turns without ever meeting.
    assert refusals or url.startswith("sqlite")
    for node in nodes:
        await node.stop()


async def test_those_that_cannot_hear_each_other_suspect_and_contest(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    nodes = []
    for member in ("one", "other"):
        node = Node(
            "books",
            url,
            nats.url,
            router=slow_accountant(member, 0.05),
            member=member,
            settings=TestSettings(batch_max_events=20),
        )
        deaf(node)
        nodes.append(await node.start())
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        for start in range(0, 200, 40):
            await shop.sell(range(start, start + 40))
            await has_taken(nodes[0], start + 20)
        await nodes[0].settled()
        assert in_order([e.event_id for e in await nodes[0].journal()], shop.published)
    for node in nodes:
        await node.stop()


async def test_one_stopped_in_mid_batch_and_continued_takes_nothing_twice(
    nats: NatsServer, new_database: Callable[[str], str], replicas: Replicas
) -> None:
    url = new_database("books")
    books = Node("books", url, nats.url, router=accountant("new"), member="new")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(60))
        await shop.sent()
        stopped = replicas.start(url, nats.url, "old", stop_at=30)
        await stopped.is_stopped()
        await books.start()
        await shop.sell(range(60, 120))
        await shop.sent()
        stopped.send(signal.SIGCONT)
        await books.settled()
        journal = await books.journal()
        assert in_order([e.event_id for e in journal], shop.published)
        assert {e.member for e in journal} == {"old", "new"}
    await books.stop()


async def test_one_that_is_never_continued_does_not_keep_its_locks(
    nats: NatsServer, postgres: PostgresServer, tmp_path: Path, replicas: Replicas
) -> None:
    """On SQLite, which is one host, a stopped process keeps the file's lock."""
    postgres.create_database("stopped_for_ever")
    url = postgres.url("stopped_for_ever")
    books = Node("books", url, nats.url, router=accountant("new"), member="new")
    async with Shop(f"sqlite:///{tmp_path}/shop.db") as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(40))
        await shop.sent()
        stopped = replicas.start(url, nats.url, "old", stop_at=10, idle_seconds=1)
        await stopped.is_stopped()
        async with books:
            await has_taken(books, 40)
            # Continued after all, it finds its commit refused and goes on.
            stopped.send(signal.SIGCONT)
            await shop.sell(range(40, 80))
            await has_taken(books, 80)
            await books.settled()
            assert in_order([e.event_id for e in await books.journal()], shop.published)


async def test_a_refused_replicas_other_lanes_go_on(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    # The contested lane is left alone for a good part of a minute.
    settings = TestSettings(member_ttl_seconds=120)
    books = Node("books", new_database("books"), nats.url, router=accountant(), settings=settings)
    await books.start()
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(40))
        await has_taken(books, 40)
        contested = subject_of("bookstore.v1.BookSold", lane_of("book-0"))
        await books.database.transaction(lambda tx: take_one(tx, contested))
        later = await shop.sell(range(40, 120))
        others = [e for e in later if lane_of(e.partition_key or "") != lane_of("book-0")]
        await has_taken(books, 40 + len(others))
        journal = [e.event_id for e in await books.journal()]
        assert in_order(journal[40:], others)
    await books.stop()


def take_one(tx: Transaction, subject: str) -> None:
    """As another replica does that takes the subject's next event."""
    next = {"number": positions.c.number + 1, "sequence": positions.c.sequence + 1}
    tx.session.execute(update(positions).where(positions.c.subject == subject).values(next))
