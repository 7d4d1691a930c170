"""An operator sees what delays a service's events, and pauses and resumes types."""

import contextlib
import time
from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, accountant, eventually, sold, write_down
from fake_producer import FakeProducer
from reading import has_taken, is_stopped, remove, returned_by, subject_of_key, taken_ids
from relaying import Shop, StreamView
from shell import Shell
from shop_and_books import rows_of_tasks
from structlog.testing import capture_logs

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Reject, Transaction
from chassis.events.consumer import stopped_lane_rows as stopped_lanes
from chassis.events.wire import event_headers
from chassis.events.wire.lanes import LANES
from chassis.exit_codes import NOTHING, OK, UNAVAILABLE, USAGE
from localservers import NatsServer

NewDatabase = Callable[[str], str]
SOLD, RETURNED = "bookstore.v1.BookSold", "bookstore.v1.BookReturned"


async def ids_of(node: Node, type: str) -> list[str]:
    return [entry.event_id for entry in await node.journal() if entry.type == type]


async def test_status_shows_lag_tasks_and_dead_letters_of_each_type(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    events = EventRouter()

    @events.on(BookSold)
    def sell(book: BookSold) -> None:
        raise Reject("not this one") if book.price else ValueError("not now")

    @events.on(BookReturned)
    def take_back(book: BookReturned) -> None: ...

    settings = TestSettings(task_backoff_seconds=600)
    books = Node("books", new_database("books"), nats.url, router=events, settings=settings)
    shell = Shell("books", books.url, nats.url, router=events)
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.publish(*(BookSold(book_id=f"b-{n}", price=n % 3) for n in range(6)))
        await shop.sent()
        async with books:

            async def is_told() -> bool:
                ran = await shell.run("events", "status", "--json")
                by_type = {row["type"]: row for row in ran.rows}
                sales = by_type[SOLD]
                assert (sales["lag"], sales["tasks"], sales["dead_letters"]) == (0, 2, 4)
                assert by_type[RETURNED]["lag"] == 0
                return ran.code == OK and sales["handled"]

            await eventually(is_told)
        await shop.publish(sold(0), sold(0), returned_by(1))
        await shop.sent()
    ran = await shell.run("events", "status", "--json")
    assert {row["type"]: row["lag"] for row in ran.rows} == {SOLD: 2, RETURNED: 1}
    ran = await shell.run("events", "lag", "BookSold", "--json")
    (row,) = ran.rows
    assert (row["subject"], row["lag"], row["last"] - row["position"]) == (
        subject_of_key("book-0"),
        2,
        2,
    )
    ran = await shell.run("events", "lag", "BookSold", "--all", "--json")
    assert len(ran.rows) == LANES

    nats.stop()
    ran = await shell.run("events", "status", "--json")
    assert [row["lag"] for row in ran.rows] == [None, None]
    assert (ran.code, ran.err.split(":")[0]) == (OK, "the lag is unknown")
    ran = await shell.run("events", "lag", "--json")
    assert {row["lag"] for row in ran.rows} == {None}
    assert ran.code == UNAVAILABLE


async def test_a_service_without_events_has_no_lag(
    new_database: NewDatabase, nats: NatsServer
) -> None:
    shell = Shell("books", new_database("books"), nats.url)
    ran = await shell.run("events", "status", "--json")
    assert {row["type"]: row["lag"] for row in ran.rows} == {SOLD: 0, RETURNED: 0}
    assert (await shell.run("events", "lag")).code == NOTHING


async def test_a_stopped_lane_is_shown_with_the_command_that_helps_until_it_continues(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    view = StreamView(nats.url)
    url = new_database("books")
    shell = Shell("books", url, nats.url)
    subject = subject_of_key("book-0")
    async with Shop(new_database("shop")) as shop, contextlib.AsyncExitStack() as stack:
        shop.start_relay(nats.url)
        await shop.publish(sold(0))
        missing = (await shop.publish(sold(0)))[0]
        await shop.publish(sold(0), returned_by(0))
        await shop.sent()
        await remove(view, missing.id)
        with capture_logs() as logs:
            await stack.enter_async_context(
                Node("books", url, nats.url, router=accountant(), member="first")
            )

            async def is_told() -> bool:
                rows = (await shell.run("events", "status", "--json")).rows
                (stop,) = [stop for row in rows for stop in row["stopped"]]
                assert stop["subject"] == subject
                assert "1 event is missing: number 2" in stop["reason"]
                return bool(stop["help"] == f"python -m books events skip {subject}")

            await eventually(is_told)
        (line,) = [line for line in logs if line["event"].startswith("lane stopped")]
        assert line["command"] == f"events skip {subject}"
        shown = await shell.run("events", "status")
        assert f"\n  -> python -m books events skip {subject}\n" in shown.out
        ran = await shell.run("events", "lag", "BookReturned", "--json")
        assert [row["state"].split(":")[0] for row in ran.rows] == ["stopped"]

        # The relay recreates the stream from the outbox, with all events.
        await view.api("STREAM.DELETE.bookstore")

        async def continues() -> bool:
            rows = (await shell.run("events", "status", "--json")).rows
            return not any(row["stopped"] for row in rows)

        await eventually(continues)


async def test_the_next_member_deletes_the_row_of_a_lane_that_is_no_longer_stopped(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    url = new_database("books")
    async with FakeProducer(nats.url) as producer:
        first = Node("books", url, nats.url, router=accountant(), member="first")
        async with first:
            await producer.publish(sold(0))
            await has_taken(first, 1)
            await producer.publish(
                sold(0), headers={event_headers.NUMBER: event_headers.number_value(7)}
            )
            await is_stopped(first)

        async def told(node: Node) -> list[str]:
            rows = await node.database.read(lambda tx: stopped_lanes.load(tx.session))
            return [row.subject for row in rows]

        second = Node("books", url, nats.url, router=accountant(), member="second")
        assert await told(second) == [subject_of_key("book-0")]
        await producer.api("STREAM.PURGE.bookstore", {"filter": subject_of_key("book-0")})
        async with second:

            async def is_put_right() -> bool:
                return await told(second) == []

            await eventually(is_put_right)


async def test_a_paused_type_waits_in_every_member_and_after_restarts(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    url = new_database("books")
    shell = Shell("books", url, nats.url)
    # Members read the paused types only when the command notifies them.
    settings = TestSettings(net_seconds=600)
    async with Shop(new_database("shop")) as shop, contextlib.AsyncExitStack() as stack:
        shop.start_relay(nats.url)
        await shop.publish(*(sold(number) for number in range(40)))
        members = [
            Node("books", url, nats.url, router=accountant(), settings=settings) for _ in range(2)
        ]
        for member in members:
            await stack.enter_async_context(member)
        await has_taken(members[0], 40)

        view = StreamView(nats.url)
        before = await read_again(view, set(), len(members))
        ran = await shell.run("events", "pause", "BookSold", "--yes", "--by", "Ada")
        assert (ran.code, ran.err.splitlines()[-1]) == (OK, "done: 1 type")
        await read_again(view, before, len(members))
        await shop.publish(*(sold(number) for number in range(40)))
        await shop.publish(*(returned_by(number) for number in range(40)))

        async def returned() -> bool:
            return len(await ids_of(members[0], RETURNED)) == 40

        await eventually(returned)
        assert len(await ids_of(members[0], SOLD)) == 40
        (row,) = [r for r in (await shell.run("events", "status", "--json")).rows if r["paused"]]
        assert (row["type"], row["lag"], row["paused"][:6]) == (SOLD, 40, "by Ada")

        await members.pop().stop()
        members.append(Node("books", url, nats.url, router=accountant(), settings=settings))
        await stack.enter_async_context(members[1])
        await shop.publish(*(returned_by(number) for number in range(40)))

        async def returned_again() -> bool:
            return len(await ids_of(members[0], RETURNED)) == 80

        await eventually(returned_again)
        assert len(await ids_of(members[0], SOLD)) == 40

        assert (await shell.run("events", "resume", "all", "--yes")).code == OK
        await has_taken(members[0], 160)
        taken = await taken_ids(members[0])
        assert sorted(taken) == sorted(event.id for event in shop.published)
        again = await shell.run("events", "resume", "all", "--yes")
        assert again.code == NOTHING


async def test_tasks_of_a_paused_type_wait_too(nats: NatsServer, new_database: NewDatabase) -> None:
    broken = True
    events = EventRouter()

    @events.on(BookSold)
    def sell(book: BookSold, tx: Transaction, event: EventContext) -> None:
        if broken:
            raise ValueError("not yet")
        write_down(tx, event)

    settings = TestSettings(task_backoff_seconds=0.5, task_tries=1000)
    books = Node("books", new_database("books"), nats.url, router=events, settings=settings)
    shell = Shell("books", books.url, nats.url, router=events)
    async with Shop(new_database("shop")) as shop, books:
        shop.start_relay(nats.url)
        await shop.publish(sold(0), sold(1))

        async def has_failed() -> bool:
            return len(await rows_of_tasks(books)) == 2

        await eventually(has_failed)
        await shell.run("events", "pause", "BookSold", "--yes")
        assert books.path.consuming
        runner = books.path.consuming.task_runner

        async def is_known() -> bool:
            return runner.claimer.types == [] and runner.running.idle

        await eventually(is_known)
        tries = [row.tries for row in await rows_of_tasks(books)]
        due = max(row.due_at for row in await rows_of_tasks(books))

        async def is_overdue() -> bool:
            runner.wake()
            return bool(time.time() > due + 0.2)

        await eventually(is_overdue)
        assert [row.tries for row in await rows_of_tasks(books)] == tries
        broken = False
        await shell.run("events", "resume", "BookSold", "--yes")
        await has_taken(books, 2)


async def read_again(view: StreamView, before: set[str], members: int) -> set[str]:
    """Wait until each member reads by a consumer that is not in `before`; return the consumers."""
    found = set[str]()

    async def holds() -> bool:
        found.clear()
        found.update((await view.api("CONSUMER.NAMES.bookstore"))["consumers"])
        return len(found) == members and not found & before

    await eventually(holds)
    return found


@pytest.mark.parametrize("typed", ["Sold", "bookstore.v1.Book", "bookshop.v1.BookSold"])
async def test_a_type_that_the_service_does_not_handle_cannot_be_paused(
    typed: str, prepared_sqlite: str
) -> None:
    ran = await Shell("books", f"sqlite:///{prepared_sqlite}").run("events", "pause", typed)
    assert ran.code == USAGE
    assert ran.err == f"{typed} is not a type of this service; there are: {RETURNED}, {SOLD}\n"
