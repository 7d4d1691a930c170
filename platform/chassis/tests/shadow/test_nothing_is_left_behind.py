"""A shadow changes nothing: not the stream, not the database, not what the members do."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg
from bookshop import Node, TestSettings, accountant, eventually
from reading import has_taken
from relaying import Shop
from shadow_runs import Shadowed, broker_state, database_state
from shop_and_books import rows_of_tasks
from sqlalchemy import make_url, text

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.exit_codes import OK
from localservers import NatsServer, PostgresServer

STREAMS = ["bookstore", "slipway-members"]


def stubborn() -> EventRouter:
    """Return handlers that delete everything, publish, and fail."""
    events = EventRouter()

    @events.on(BookSold)
    def sell(book: BookSold, tx: Transaction, event: EventContext) -> None:
        tx.session.execute(text("DELETE FROM journal"))
        tx.session.execute(text("DELETE FROM slipway_position"))
        tx.publish(BookReturned(book_id=book.book_id))
        if book.price % 3 == 0:
            raise ValueError("every third one fails")

    @events.on(BookReturned)
    def take_back(book: BookReturned) -> None: ...

    return events


async def test_stream_consumers_members_and_database_are_as_they_were_before(
    nats: NatsServer, books_url: str, shop: Shop
) -> None:
    settings = TestSettings(task_backoff_seconds=600)
    failing = EventRouter()

    @failing.on(BookSold)
    def fail(book: BookSold) -> None:
        if book.price == 5:
            raise ValueError("not this one")

    async with Node("books", books_url, nats.url, router=failing, settings=settings) as books:
        await shop.sell(range(100))
        await shop.sent()

        async def has_one_task() -> bool:
            ledger = await books.path.ledger()
            return (ledger.unsent, ledger.lag, ledger.tasks) == (0, 0, 3)

        await eventually(has_one_task)
        assert len(await rows_of_tasks(books)) == 3
    before = database_state(books_url), await broker_state(nats.url, STREAMS)

    replayed = await Shadowed(stubborn(), books_url, nats.url).replay()

    assert replayed.ran.code == OK
    assert (replayed.outcomes.count("handled"), replayed.outcomes.count("failed")) == (66, 34)
    assert (database_state(books_url), await broker_state(nats.url, STREAMS)) == before


async def test_a_running_service_handles_each_event_once_while_shadows_replay(
    nats: NatsServer, books_url: str, shop: Shop
) -> None:
    async with Node("books", books_url, nats.url, router=accountant()) as books:
        await shop.sell(range(200))
        await has_taken(books, 200)
        shadowed = Shadowed(stubborn(), books_url, nats.url)
        replaying = asyncio.create_task(shadowed.replay())
        for start in range(200, 600, 50):
            await shop.sell(range(start, start + 50))
            await has_taken(books, start + 50)
        replayed = await replaying

        assert replayed.ran.code == OK
        assert len(replayed.results) >= 200
        ids = [entry.event_id for entry in await books.journal()]
        assert len(ids) == len(set(ids)) == 600
        ledger = await books.path.ledger()
        assert (ledger.tasks, ledger.dead_letters, list(ledger.stopped)) == (0, 0, [])


async def test_no_statement_of_a_handler_reaches_the_tables_of_the_service(
    nats: NatsServer, postgres: PostgresServer, prepared_postgres: str, shop: Shop
) -> None:
    url = postgres.create_database(f"books_{uuid.uuid4().hex[:8]}", template=prepared_postgres)
    events = EventRouter()

    @events.on(BookSold)
    def sell(book: BookSold, tx: Transaction) -> None:
        statement = ["DELETE FROM public.journal", "DROP TABLE public.journal"]
        tx.session.execute(text(statement[book.price]))

    await shop.sell(range(2))
    await shop.sent()

    replayed = await Shadowed(events, url, nats.url).replay()

    assert [r["reason"].partition(") ")[2] for r in replayed.results] == [
        "cannot execute DELETE in a read-only transaction",
        "cannot execute DROP TABLE in a read-only transaction",
    ]
    assert "journal" in database_state(url)


async def test_a_shadow_notifies_no_session_that_listens_on_postgresql(
    nats: NatsServer, postgres: PostgresServer, prepared_postgres: str, shop: Shop
) -> None:
    """A transaction that writes nothing may notify, and does so with its commit."""
    url = postgres.create_database(f"books_{uuid.uuid4().hex[:8]}", template=prepared_postgres)
    events = EventRouter()

    @events.on(BookSold)
    def sell(book: BookSold, tx: Transaction) -> None:
        notify = ["NOTIFY sold, 'a'", "SELECT pg_notify('sold', 'b')", "SELECT 1; notify sold"]
        tx.session.execute(text(notify[book.price]))

    await shop.sell(range(3))
    await shop.sent()
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as listening:
        listening.execute("LISTEN sold")

        replayed = await Shadowed(events, url, nats.url).replay()

        listening.execute("NOTIFY sold, 'the end'")
        assert [each.payload for each in listening.notifies(stop_after=1)] == ["the end"]
    assert [r["outcome"] for r in replayed.results] == ["outside call"] * 3
    assert replayed.results[0]["reason"] == "NOTIFY (not allowed in a shadow)"


_DIES = """
import sys
sys.path[:0] = sys.argv[1:3]
import os, signal
from shadow_runs import Shadowed
from bookstore.v1 import BookSold, BookReturned
from chassis import EventContext, EventRouter, Transaction
from bookshop import write_down

events = EventRouter()

@events.on(BookSold)
def sell(book: BookSold, tx: Transaction, event: EventContext) -> None:
    write_down(tx, event)
    tx.publish(BookReturned(book_id=book.book_id))
    if book.price == 50:
        os.kill(os.getpid(), signal.SIGKILL)

Shadowed(events, sys.argv[3], sys.argv[4]).shell.type("events", "shadow")
"""


async def test_a_shadow_that_is_killed_in_the_middle_leaves_nothing(
    nats: NatsServer, books_url: str, shop: Shop, tmp_path: Path
) -> None:
    await shop.sell(range(100))
    await shop.sent()
    before = database_state(books_url), await broker_state(nats.url, ["bookstore"])
    files = set(tmp_path.rglob("*"))
    tests = Path(__file__).parents[1]

    code = await asyncio.to_thread(
        _run, _DIES, tests / "contracts", tests / "parts", books_url, nats.url
    )

    assert code == -signal.SIGKILL
    if books_url.startswith("postgresql"):
        await eventually(lambda: _has_no_temporary_table(books_url))
    assert (database_state(books_url), await broker_state(nats.url, ["bookstore"])) == before
    written = {file for file in set(tmp_path.rglob("*")) - files if "-wal" not in file.name}
    assert {file for file in written if "books" in file.name and "-shm" not in file.name} == set()


async def _has_no_temporary_table(url: str) -> bool:
    """Return whether no session has a temporary table in the database."""
    with psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string()) as other:
        found = other.execute("SELECT count(*) FROM pg_class WHERE relpersistence = 't'").fetchone()
    return found == (0,)


def _run(code: str, *arguments: object) -> int:
    """Run Python code in a process of its own; return its exit code."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("APP_")}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment
    ).returncode
