"""A stopped lane continues by a command that first says which events are lost."""

import contextlib
from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, accountant, eventually, sold
from fake_producer import FakeProducer
from reading import has_taken, is_stopped, position_of, remove, subject_of_key, taken_ids
from relaying import Shop, StreamView
from shell import Shell
from sqlalchemy import delete
from sqlalchemy.orm import Session

from chassis.database import tables
from chassis.events.consumer import position_rows
from chassis.events.consumer.position import Position
from chassis.events.wire import event_headers
from chassis.exit_codes import FAILED, NOTHING, OK, USAGE
from chassis.operations import lanes
from localservers import NatsServer

NewDatabase = Callable[[str], str]
SUBJECT = subject_of_key("book-0")
# With these settings a lane continues in time only if the command notifies the members.
PATIENT = TestSettings(stopped_retry_seconds=600, net_seconds=600)


def numbered(number: int) -> dict[str, str | None]:
    return {event_headers.NUMBER: event_headers.number_value(number)}


async def test_skip_continues_past_missing_events_and_members_notice_at_once(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    url = new_database("books")
    shell = Shell("books", url, nats.url)
    books = Node("books", url, nats.url, router=accountant(), settings=PATIENT)
    async with FakeProducer(nats.url) as producer, books:
        taken = [(await producer.publish(sold(0))).id]
        await has_taken(books, 1)
        taken.append((await producer.publish(sold(0), headers=numbered(5))).id)
        await is_stopped(books)

        dry = await shell.run("events", "skip", SUBJECT, "--dry-run", "--json")
        assert dry.rows == [
            {
                "subject": SUBJECT,
                "position": 1,
                "to": 4,
                "skipped": 3,
                "held": 0,
                "next": 5,
                "events": "",
            }
        ]
        assert "skip 3 events" in dry.err
        assert (await position_of(books, SUBJECT)).number == 1

        assert (await shell.run("events", "skip", SUBJECT, "--yes")).code == OK
        await has_taken(books, 2)
        taken.append((await producer.publish(sold(0), headers=numbered(6))).id)
        await has_taken(books, 3)
        assert await taken_ids(books) == taken
        assert (await books.path.ledger()).stopped == ()

        again = await shell.run("events", "skip", SUBJECT, "--yes")
        assert again.code == NOTHING
        assert again.err == f"{SUBJECT}: the stream holds nothing above number 6\n"


async def test_events_in_the_stream_are_skipped_only_by_number_and_are_named(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    url = new_database("books")
    shell = Shell("books", url, nats.url)
    books = Node("books", url, nats.url, router=accountant())
    async with FakeProducer(nats.url) as producer:
        async with books:
            await producer.publish(sold(0))
            await has_taken(books, 1)
        held = [(await producer.publish(sold(0))).id for _ in range(3)]
        refused = await shell.run("events", "skip", SUBJECT, "--yes")
        assert refused.code == NOTHING
        assert "nothing is missing, number 2 is next; --to 2 skips it" in refused.err

        ran = await shell.run("events", "skip", SUBJECT, "--to", "3", "--yes", "--json")
        (row,) = ran.rows
        assert (row["skipped"], row["held"], row["next"]) == (2, 2, 4)
        assert row["events"] == ", ".join(held[:2])
        back = await shell.run("events", "skip", SUBJECT, "--to", "2", "--yes")
        assert back.code == NOTHING
        assert "number 3 is handled already" in back.err
        async with Node("books", url, nats.url, router=accountant()) as later:
            await has_taken(later, 2)
            assert (await taken_ids(later))[1:] == held[2:]


async def test_a_skipped_event_that_arrives_later_is_dropped(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    """The position knows the number that was skipped last, but not the id of its event."""
    url = new_database("books")
    shell = Shell("books", url, nats.url)
    view = StreamView(nats.url)
    async with Shop(new_database("shop")) as shop, contextlib.AsyncExitStack() as stack:
        shop.start_relay(nats.url)
        published = await shop.publish(*(sold(0) for _ in range(3)))
        await shop.sent()
        await remove(view, published[1].id)
        settings = TestSettings(stopped_retry_seconds=600)
        books = Node("books", url, nats.url, router=accountant(), settings=settings)
        await stack.enter_async_context(books)
        await is_stopped(books)
        assert (await shell.run("events", "skip", SUBJECT, "--yes")).code == OK
        await has_taken(books, 2)
        # The relay recreates the stream from the outbox, with the event that was skipped.
        await view.api("STREAM.DELETE.bookstore")
        published += await shop.publish(sold(0))
        await has_taken(books, 3)
        ids = [event.id for event in published]
        assert await taken_ids(books) == [ids[0], ids[2], ids[3]]


async def test_a_position_that_has_moved_since_the_plan_is_not_changed(
    nats: NatsServer, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_database("books")
    shell = Shell("books", url, nats.url)
    books = Node("books", url, nats.url, router=accountant())
    async with FakeProducer(nats.url) as producer, books:
        await producer.publish(sold(0))
        await has_taken(books, 1)
        await producer.publish(sold(0), headers=numbered(5))
        await is_stopped(books)
        row = await position_of(books, SUBJECT)
        before = Position(row.number, row.generation, row.sequence, row.event_id)
        moved = Position(2, row.generation, 0)
        plan = lanes.plan_skip

        async def planned_before_it_moved(*arguments: object) -> lanes.Move:
            made = await plan(*arguments)  # type: ignore[arg-type]
            move = [(SUBJECT, before, moved)]
            await books.database.transaction(lambda tx: position_rows.move(tx.session, move))
            return made

        verbs = "chassis.operations.command_line.stopped.plan_skip"
        monkeypatch.setattr(verbs, planned_before_it_moved)
        ran = await shell.run("events", "skip", SUBJECT, "--yes")
        assert ran.code == FAILED
        assert ran.err.endswith(
            "a member has moved a position; nothing was changed, run the command again\n"
        )
        assert (await position_of(books, SUBJECT)).number == 2


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is down"])
async def test_start_over_handles_the_whole_new_generation_and_nothing_twice(
    running: bool, nats: NatsServer, new_database: NewDatabase
) -> None:
    """The stream still holds events of the old generation with the same numbers."""
    url = new_database("books")
    shell = Shell("books", url, nats.url)
    async with FakeProducer(nats.url) as producer, contextlib.AsyncExitStack() as stack:
        books = Node("books", url, nats.url, router=accountant(), settings=PATIENT)
        await stack.enter_async_context(books)
        old = [(await producer.publish(sold(n, keys=4))).id for n in range(12)]
        await has_taken(books, 12)
        producer.start_new_generation()
        new = [(await producer.publish(sold(n, keys=4))).id for n in range(8)]
        said = await is_stopped(books, 4)
        assert all("started over" in line for line in said)
        if not running:
            await books.stop()

        ran = await shell.run("events", "start-over", "BookSold", "--yes", "--json")
        assert ran.code == OK
        assert [(row["position"], row["to"], row["next"]) for row in ran.rows] == [(3, 0, 1)] * 4
        if not running:
            books = Node("books", url, nats.url, router=accountant(), settings=PATIENT)
            await stack.enter_async_context(books)
        await has_taken(books, 20)
        new += [(await producer.publish(sold(n, keys=4))).id for n in range(4)]
        await has_taken(books, 24)
        taken = await taken_ids(books)
        assert taken[:12] == old
        assert sorted(taken[12:]) == sorted(new)
        assert (await books.path.ledger()).stopped == ()


async def test_one_subject_starts_over_from_a_given_number(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    url = new_database("books")
    shell = Shell("books", url, nats.url)
    books = Node("books", url, nats.url, router=accountant(), settings=PATIENT)
    async with FakeProducer(nats.url) as producer, books:
        await producer.publish(sold(0))
        await has_taken(books, 1)
        producer.start_new_generation()
        new = [(await producer.publish(sold(0))).id for _ in range(3)]
        await is_stopped(books)
        missing = await shell.run("events", "start-over", SUBJECT, "--from", "9", "--yes")
        assert missing.code == NOTHING
        assert "the stream does not hold number 9" in missing.err
        ran = await shell.run("events", "start-over", SUBJECT, "--from", "2", "--yes")
        assert ran.code == OK
        await has_taken(books, 3)
        assert (await taken_ids(books))[1:] == new[1:]


async def test_start_over_is_refused_if_the_producer_did_not_start_over(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    url = new_database("books")
    shell = Shell("books", url, nats.url)
    books = Node("books", url, nats.url, router=accountant())
    async with FakeProducer(nats.url) as producer, books:
        await producer.publish(sold(0))
        await has_taken(books, 1)
        ran = await shell.run("events", "start-over", SUBJECT, "--yes")
        assert ran.code == NOTHING
        assert "its producer's numbers did not start over" in ran.err
        for types in ("BookSold", "all"):
            of_types = await shell.run("events", "start-over", types, "--yes")
            assert of_types.code == NOTHING
        wrong = await shell.run("events", "skip", "bookstore.v1.BookSold.99")
        assert wrong.code == USAGE
        assert "the service does not read the subject bookstore.v1.BookSold.99" in wrong.err


def delete_position(session: Session) -> None:
    session.execute(delete(tables.positions).where(tables.positions.c.subject == SUBJECT))


async def test_a_deleted_position_is_recreated_from_a_given_number(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    url = new_database("books")
    shell = Shell("books", url, nats.url)
    books = Node("books", url, nats.url, router=accountant(), settings=PATIENT)
    async with FakeProducer(nats.url) as producer:
        async with books:
            await producer.publish(sold(0))
            await has_taken(books, 1)
            await books.database.transaction(lambda tx: delete_position(tx.session))
        second = await producer.publish(sold(0))
        async with Node("books", url, nats.url, router=accountant(), settings=PATIENT) as later:
            (said,) = await is_stopped(later)
            assert "the row of its position was deleted" in said

            async def is_told() -> bool:
                rows = (await shell.run("events", "status", "--json")).rows
                return any(row["stopped"] for row in rows)

            await eventually(is_told)
            (stopped,) = [
                stop
                for row in (await shell.run("events", "status", "--json")).rows
                for stop in row["stopped"]
            ]
            assert stopped["help"].endswith(f" events start-over --from NUMBER {SUBJECT}")
            no = await shell.run("events", "start-over", SUBJECT, "--yes")
            assert no.code == NOTHING
            assert "give --from NUMBER" in no.err
            ran = await shell.run("events", "start-over", SUBJECT, "--from", "2", "--yes")
            assert ran.code == OK
            await has_taken(later, 2)
            assert (await taken_ids(later))[1:] == [second.id]
