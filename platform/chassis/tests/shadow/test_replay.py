"""A shadow reports what handlers do with recorded events, and what they would publish."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bookshop import sold, write_down
from foreigner import Foreigner
from reading import returned_by
from relaying import Shop
from shadow_runs import Shadowed, journal
from sqlalchemy import insert, select

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Reject, Shadow, Transact, Transaction
from chassis._wait_notice import WaitNotice
from chassis.events import uuid7
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.exit_codes import NOTHING, OK, UNAVAILABLE, USAGE
from localservers import NatsServer, PostgresServer

SOLD = "bookstore.v1.BookSold"


def returning(factor: int = 1) -> EventRouter:
    """Return a handler that takes each book back, with a new id and the time in its reason."""
    events = EventRouter()

    @events.on(BookSold)
    def take_back(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)
        now = datetime.now(UTC)
        due = (now + timedelta(days=1)).isoformat()
        reason = f"{uuid7()} at {now.isoformat()}, due {due}: {factor * book.price}"
        tx.publish(BookReturned(book_id=book.book_id, reason=reason))

    return events


async def test_each_event_is_reported_with_what_its_handler_would_have_published(
    nats: NatsServer, books_url: str, shop: Shop
) -> None:
    contexts = await shop.publish(*(sold(n) for n in range(30)), returned_by(1))
    await shop.sent()

    replayed = await Shadowed(returning(), books_url, nats.url).replay()

    assert (replayed.ran.code, replayed.outcomes) == (OK, ["handled"] * 30)
    sales = contexts[:30]
    assert [r["event"] for r in replayed.results] == [c.id for c in sales]
    assert [r["key"] for r in replayed.results] == [c.partition_key for c in sales]
    (handler,) = {r["handler"] for r in replayed.results}
    assert handler.endswith(".take_back")
    reason = f"<new id 1 of {sales[7].id}> at <now>, due <now + 86400 s>: 7"
    assert replayed.published[7] == {
        "type": "bookstore.v1.BookReturned",
        "key": "book-7",
        "data": {"book_id": "book-7", "reason": reason},
    }
    assert [row["row"]["event_id"] for row in replayed.rows] == [c.id for c in sales]
    assert "handled: 30" in replayed.ran.err


async def test_two_replays_of_a_recording_give_the_same_lines_but_for_what_was_changed(
    nats: NatsServer, books_url: str, shop: Shop, tmp_path: Path
) -> None:
    await shop.sell(range(50))
    await shop.sent()
    one, other = (Shadowed(returning(f), books_url, nats.url) for f in (1, 2))
    file = str(tmp_path / "recording")
    recorded = await one.shell.run("events", "record", "--events", "40", "--out", file)
    assert recorded.code == OK

    await shop.sell(range(50, 60))
    await shop.sent()
    first = await one.replay("--recording", file)
    again = await one.replay("--recording", file)
    doubled = await other.replay("--recording", file)

    assert first.without_times == again.without_times
    prices = [event["data"]["reason"].rpartition(" ")[2] for event in first.published]
    assert prices == [str(n) for n in range(10, 50)]
    prices = [event["data"]["reason"].rpartition(" ")[2] for event in doubled.published]
    assert prices == [str(2 * n) for n in range(10, 50)]


async def test_an_outcome_says_why_a_handler_did_not_handle_its_event(
    nats: NatsServer, books_url: str, shop: Shop
) -> None:
    events = EventRouter()

    @events.on(BookSold)
    def sell(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)
        tx.publish(BookReturned(book_id=book.book_id))
        if book.price == 1:
            raise ValueError("this one fails")
        if book.price == 2:
            raise Reject("never this one")
        if book.price == 3:
            tx.session.commit()

    @events.on(BookReturned)
    async def take_back(book: BookReturned, transact: Transact) -> None: ...

    await shop.publish(*(sold(n) for n in range(4)), returned_by(4))
    await shop.sent()
    async with connection(NatsOptions(nats.url), "garbage") as client:
        await client.publish(f"{SOLD}.3", b"garbage", headers={"ce-sequence": "1"})
        await client.flush()

    replayed = await Shadowed(events, books_url, nats.url).replay()

    told = [(r["outcome"], r["reason"].partition(": ")[2]) for r in replayed.results]
    assert told[:3] == [
        ("handled", ""),
        ("failed", "this one fails"),
        ("rejected", "never this one"),
    ]
    assert told[3][0] == "failed"
    assert told[3][1].startswith("session.commit() would end the transaction")
    assert told[4] == ("not run", "")
    missing = "attribute 'specversion' is missing: the message is not a CloudEvent"
    assert told[5] == ("undecodable", missing)
    assert len(replayed.published) == 1
    assert len(replayed.rows) == 1


async def test_handlers_of_lists_get_lists_of_one_and_async_ones_run_if_they_are_named(
    nats: NatsServer, books_url: str, shop: Shop
) -> None:
    events = EventRouter()

    @events.on_batch(BookSold)
    def sell(books: Sequence[BookSold], contexts: Sequence[EventContext], tx: Transaction) -> None:
        for context in contexts:
            write_down(tx, context)
        tx.publish(BookReturned(book_id=books[0].book_id, reason=f"list of {len(books)}"))

    @events.on(BookReturned)
    async def take_back(book: BookReturned, event: EventContext, transact: Transact) -> None:
        def give_back(tx: Transaction) -> None:
            write_down(tx, event)
            tx.publish(BookSold(book_id=book.book_id, customer_id="again"))

        await transact(give_back)

    await shop.publish(sold(0), sold(1), returned_by(0))
    await shop.sent()

    replayed = await Shadowed(events, books_url, nats.url).replay("--allow-handler", "take_back")

    assert replayed.outcomes == ["handled"] * 3
    assert [event["data"].get("reason") for event in replayed.published] == [
        "list of 1",
        "list of 1",
        None,
    ]
    assert replayed.published[2]["data"]["customer_id"] == "again"
    assert len(replayed.rows) == 3


async def test_the_last_events_of_the_types_that_are_handled_are_replayed(
    nats: NatsServer, sqlite_url: str, shop: Shop
) -> None:
    await shop.sell(range(20))
    await shop.publish(*(returned_by(n) for n in range(100)))
    await shop.sell(range(20, 25))
    await shop.sent()
    shadowed = Shadowed(returning(), sqlite_url, nats.url)

    for count, first in ((10, 15), (1, 24), (1000, 0)):
        replayed = await shadowed.replay("--events", str(count))
        keys = [result["key"] for result in replayed.results]
        assert keys == [f"book-{n}" for n in range(first, 25)]


async def test_state_is_restored_from_own_events_and_copied_from_the_database(
    nats: NatsServer, books_url: str, shop: Shop
) -> None:
    events, own = EventRouter(), EventRouter()

    @own.on(BookSold)
    def restore(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    @events.on(BookReturned)
    def take_back(book: BookReturned, tx: Transaction) -> None:
        known = select(journal.c.member).where(journal.c.book_id == book.book_id)
        members = tx.session.execute(known).scalars().all()
        tx.publish(BookReturned(book_id=book.book_id, reason=f"{sorted(members)}"))

    await shop.publish(sold(1), returned_by(1), returned_by(2))
    await shop.sent()
    everything = insert(journal).values(book_id="book-2", member="in the database")
    shop_of_books = Shop(books_url)
    await shop_of_books.database.transaction(lambda tx: tx.session.execute(everything))
    shop_of_books.database.close()
    shadow = Shadow(restores=[own], copies={journal: select(journal.c.book_id, journal.c.member)})

    replayed = await Shadowed(events, books_url, nats.url, name="bookstore", shadow=shadow).replay()

    assert [event["data"]["reason"] for event in replayed.published] == [
        "['']",
        "['in the database']",
    ]
    assert len(replayed.rows) == 2


async def test_events_of_producers_outside_the_platform_are_replayed(
    nats: NatsServer, books_url: str
) -> None:
    events = EventRouter()

    @events.on_foreign(
        BookSold, stream=Foreigner.STREAM, subject="legacy.books.*", type=Foreigner.TYPE
    )
    def sell(book: BookSold, tx: Transaction) -> None:
        tx.publish(BookReturned(book_id=book.book_id))

    async with Foreigner(nats.url) as foreigner:
        shadowed = Shadowed(events, books_url, nats.url)
        await foreigner.tell("one", key="a")
        replayed = await shadowed.replay()
        assert replayed.ran.code == NOTHING
        assert "no event of the stream LEGACY is replayed" in replayed.ran.err

        await foreigner.allow_direct_gets()
        await foreigner.tell_structured("two", key="b")
        await foreigner.send(b"?", {})
        await foreigner.tell("three", key="c", type="another")
        replayed = await shadowed.replay()

    assert replayed.outcomes == ["handled", "handled", "not handled", "not handled"]
    assert [r["event"] for r in replayed.results] == ["one", "two", "", ""]
    assert [event["key"] for event in replayed.published] == ["a", "b"]


async def test_a_shadow_waits_for_a_recording_and_finds_it_whole(
    nats: NatsServer, sqlite_url: str, shop: Shop, tmp_path: Path
) -> None:
    await shop.sell(range(20))
    await shop.sent()
    shadowed = Shadowed(returning(), sqlite_url, nats.url)
    file = str(tmp_path / "recording")

    # The commands run one after the other here, and each in its own process on a cluster.
    early = await shadowed.replay("--recording", file, "--wait", "0.1")
    assert (early.ran.code, "cannot be read" in early.ran.err) == (USAGE, True)
    recorded = await shadowed.shell.run("events", "record", "--out", file)
    late = await shadowed.replay("--recording", file, "--wait", "60")

    assert (recorded.code, late.outcomes) == (OK, ["handled"] * 20)
    assert list(tmp_path.glob("recording*")) == [Path(file)]


async def test_a_recording_waits_for_a_database_and_a_broker_that_cannot_be_reached_yet(
    nats: NatsServer, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network policies may refuse the connections of a pod in its first seconds."""
    await shop.sell(range(3))
    await shop.sent()
    with PostgresServer(tmp_path / "postgres") as server:
        url = server.create_database("books")
        shell = Shadowed(returning(), url, nats.url).shell
        assert (await shell.run("migrate")).code == OK
        servers: tuple[PostgresServer | NatsServer, ...] = (server, nats)
        for unavailable in servers:
            unavailable.stop()
            assert (await shell.run("events", "record")).code == UNAVAILABLE
            refused = threading.Event()
            monkeypatch.setattr(WaitNotice, "print", lambda *_, told=refused: told.set())
            recording = asyncio.create_task(shell.run("events", "record", "--wait", "60"))
            assert await asyncio.to_thread(refused.wait, 60)
            unavailable.start()
            ran = await recording
            assert (ran.code, len(ran.out.splitlines())) == (OK, 4)


async def test_a_recording_that_cannot_be_used_is_refused_with_the_reason(
    nats: NatsServer, sqlite_url: str, shop: Shop, tmp_path: Path
) -> None:
    await shop.sell(range(3))
    await shop.sent()
    shadowed = Shadowed(returning(), sqlite_url, nats.url)
    file = tmp_path / "recording"
    await shadowed.shell.run("events", "record", "--out", str(file))
    lines = file.read_text(encoding="utf-8").splitlines()

    for content, reason in (
        ("", "it is empty"),
        (lines[0].replace("books", "others"), "it is a recording of others, not of books"),
        ('{"recording": 2}', "it is not a recording that this version of the chassis reads"),
        (f"{lines[0]}\n{{}}", "line 2 is not a line of a recording"),
        (f"{lines[0]}\n{lines[1][:50]}", "line 2 is not a line of a recording"),
    ):
        file.write_text(content, encoding="utf-8")
        replayed = await shadowed.replay("--recording", str(file))
        assert replayed.ran.code == USAGE
        assert replayed.ran.err == f"the recording {file} cannot be read: {reason}\n"

    nats.stop()
    assert (await shadowed.replay()).ran.code == UNAVAILABLE
