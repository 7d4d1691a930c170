"""The commands of docs/operations.md work in the situations of their sections, on real servers.

Each test runs all commands of its section in their order on the tests' bookshop: `orders` stands
for the service that consumes events, `inventory` for the service that publishes them.
"""

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from backup import back_up, restore
from bookshop import Node, TestSettings, accountant, eventually, prepare_database, sold, write_down
from fake_producer import FakeProducer
from reading import has_taken, is_stopped, subject_of_key, taken_ids
from relaying import STREAM, TYPES, Shop, StreamView
from shell import Ran, Shell
from shop_and_books import dead, rows_of_tasks
from sqlalchemy import delete

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Reject, Transaction
from chassis.database import tables
from chassis.events.wire import event_headers
from chassis.exit_codes import NOTHING, OK
from chassis.operations.command_line import parse
from localservers import NatsServer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SUBJECT = subject_of_key("book-0")
# Words of the document about the shop, and their counterparts in the bookshop.
WORDS = {
    "shop.inventory.v1.StockReserved.7": SUBJECT,
    "StockReserved": "BookSold",
    "order-1": "book-1",
    "1251": "2",
}
COMMAND = re.compile(r"^    python -m (\w+) (.+)$", re.M)


class Night:
    """The commands of one section, run in their order."""

    def __init__(self, section: str, **shells: Shell) -> None:
        (text,) = re.findall(rf"^### {section}\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S)
        self._left = COMMAND.findall(text)
        self._shells = shells

    async def types(self, start: str) -> Ran:
        """Run the next command, which must begin with `start` and must succeed."""
        service, typed = self._left.pop(0)
        assert typed.startswith(start), typed
        words = [WORDS.get(word, word) for word in typed.split()]
        ran = await self._shells[service].run(*words)
        assert ran.code in (OK, NOTHING), ran.err
        return ran

    async def is_quiet(self, service: str = "orders") -> None:
        """Wait until the service has no lag and no stopped lane."""

        async def holds() -> bool:
            return (await self._shells[service].run("events", "lag")).code == NOTHING

        await eventually(holds)

    def is_over(self) -> None:
        assert self._left == []


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("night") / "prepared.db"
    prepare_database(f"sqlite:///{file}")
    return file


@pytest.fixture
def url(prepared: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(prepared, tmp_path / 'orders.db')}"


@pytest.fixture
def shop_url(prepared: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(prepared, tmp_path / 'inventory.db')}"


@pytest_asyncio.fixture
async def shop(shop_url: str) -> AsyncIterator[Shop]:
    async with Shop(shop_url) as opened:
        yield opened


def shells(nats: NatsServer, url: str, shop_url: str, router: EventRouter) -> dict[str, Shell]:
    return {
        "orders": Shell("books", url, nats.url, router=router),
        "inventory": Shell(STREAM, shop_url, nats.url, router=EventRouter(), publishes=TYPES),
    }


def test_every_command_of_the_document_can_be_typed() -> None:
    commands = re.findall(r"(?:python -m orders|python -m inventory|slipway) (\S.*)$", TEXT, re.M)
    typed = [c for c in commands if c.split()[0] in ("dead-letters", "events", "outbox")]
    assert len(typed) > 20
    for command in typed:
        # `slipway` takes this option for itself.
        own = re.sub(r" --service \S+", "", re.split(r"[`,]", command)[0])
        parse("python -m orders", own.split())


async def test_dead_letters_grow(nats: NatsServer, url: str, shop: Shop) -> None:
    broken = True
    events = EventRouter()

    @events.on(BookSold)
    def sell(book: BookSold, tx: Transaction, event: EventContext) -> None:
        if book.price == 99:
            raise Reject("no such book")
        if broken:
            raise ValueError("not yet")
        write_down(tx, event)

    night = Night("Dead letters grow", **shells(nats, url, shop.url, events))
    async with Node("books", url, nats.url, router=events) as books:
        shop.start_relay(nats.url)
        wanted = await shop.publish(sold(1), sold(1), sold(2))
        await shop.publish(BookSold(book_id="book-3", price=99))

        async def all_are_dead() -> bool:
            return len(await dead(books)) == 4

        await eventually(all_are_dead)
        listed = await night.types("dead-letters list")
        assert "ValueError: not yet" in listed.out
        assert "rejected: no such book" in listed.out
        shown = await night.types("dead-letters show")
        assert "ce-id: " in shown.out
        broken = False
        assert "done: 2" in (await night.types("dead-letters redrive")).err
        await has_taken(books, 2)
        assert "done: 1" in (await night.types("dead-letters redrive")).err
        await has_taken(books, 3)
        assert set(await taken_ids(books)) == {event.id for event in wanted}
        assert "done: 1" in (await night.types("dead-letters drop")).err
        assert "done: 1" in (await night.types("events pause")).err
        assert "done: 1" in (await night.types("events resume")).err
        await shop.publish(sold(4))
        await has_taken(books, 4)
        assert (await Shell("books", url).run("dead-letters", "list")).code == NOTHING
    night.is_over()


async def test_lag_grows(nats: NatsServer, url: str, shop: Shop) -> None:
    night = Night("Lag grows", **shells(nats, url, shop.url, accountant()))
    shop.start_relay(nats.url)
    async with Node("books", url, nats.url, router=accountant()) as books:
        await shop.publish(sold(0))
        await has_taken(books, 1)
    await shop.publish(*(sold(0) for _ in range(5)))
    await shop.sent()
    status = await night.types("events status")
    assert re.search(r"bookstore +bookstore\.v1\.BookSold +5 +0 +0 +0 ", status.out)
    lag = await night.types("events lag")
    assert re.search(rf"{SUBJECT} +1 +6 +5", lag.out)
    night.is_over()
    async with Node("books", url, nats.url, router=accountant()) as books:
        await has_taken(books, 6)
        await night.is_quiet()


def delete_position(tx: Transaction) -> None:
    tx.session.execute(delete(tables.positions).where(tables.positions.c.subject == SUBJECT))


async def test_a_lane_is_stopped(nats: NatsServer, url: str, shop_url: str) -> None:
    night = Night("A lane is stopped", **shells(nats, url, shop_url, accountant()))
    books = Node("books", url, nats.url, router=accountant())
    async with FakeProducer(nats.url) as producer, books:
        await producer.publish(sold(0))
        await has_taken(books, 1)
        await producer.publish(
            sold(0), headers={event_headers.NUMBER: event_headers.number_value(5)}
        )
        await is_stopped(books)

        async def is_told() -> bool:
            status = await Shell("books", url, nats.url).run("events", "status")
            return f"-> python -m books events skip {SUBJECT}" in status.out

        await eventually(is_told)
        assert "3 events are missing: numbers 2 to 4" in (await night.types("events status")).out
        await night.types("outbox status")
        assert "skip 3 events" in (await night.types("events skip")).err
        assert "done: 1" in (await night.types("events skip")).err
        await has_taken(books, 2)

        producer.start_new_generation()
        new = await producer.publish(sold(0))
        await is_stopped(books)

        async def is_told_again() -> bool:
            status = await Shell("books", url, nats.url).run("events", "status")
            return f"-> python -m books events start-over {SUBJECT}" in status.out

        await eventually(is_told_again)
        assert "start over 1 subject\n" in (await night.types("events start-over")).err
        assert "done: 1" in (await night.types("events start-over")).err
        await has_taken(books, 3)
        assert (await taken_ids(books))[-1] == new.id

        await books.database.transaction(delete_position)
        last = await producer.publish(sold(0))
        await is_stopped(books)

        async def is_told_to_give_a_number() -> bool:
            status = await Shell("books", url, nats.url).run("events", "status")
            return f"events start-over --from NUMBER {SUBJECT}" in status.out

        await eventually(is_told_to_give_a_number)
        await night.types("events start-over --from")
        assert "done: 1" in (await night.types("events start-over --from")).err
        await has_taken(books, 4)
        assert (await taken_ids(books))[-1] == last.id
        await night.is_quiet()
    night.is_over()


async def test_the_broker_lost_its_disk(nats: NatsServer, url: str, shop: Shop) -> None:
    night = Night("The broker lost its disk", **shells(nats, url, shop.url, accountant()))
    async with Node("books", url, nats.url, router=accountant()) as books:
        shop.start_relay(nats.url)
        await shop.sell(range(20))
        await has_taken(books, 20)
        nats.kill()
        nats.erase()
        nats.start()
        await shop.sell(range(20))
        await shop.sent()
        status = await night.types("outbox status")
        assert re.search(r"^bookstore +0 ", status.out, re.M)
        await has_taken(books, 40)
        await night.is_quiet()
        assert (await night.types("events lag")).code == NOTHING
        assert sorted(await taken_ids(books)) == sorted(event.id for event in shop.published)
    night.is_over()


async def test_a_database_was_restored_from_a_backup(
    nats: NatsServer, url: str, shop: Shop
) -> None:
    section = "A database was restored from a backup"
    night = Night(section, **shells(nats, url, shop.url, accountant()))
    async with Node("books", url, nats.url, router=accountant()) as books:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(10))
        await shop.sent()
        backup = back_up(shop.url)
        await shop.sell(range(10))
        await shop.sent()
        await relay.stop()
        restore(shop.url, backup)
        shop.start_relay(nats.url)
        await shop.sell(range(10))
        await shop.sent()
        assert re.search(r"^bookstore +0 ", (await night.types("outbox status")).out, re.M)
        await has_taken(books, 30)
        await night.is_quiet()
        assert "->" not in (await night.types("events status")).out
        assert sorted(await taken_ids(books)) == sorted(event.id for event in shop.published)
    night.is_over()


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_clocks_of_hosts_disagree(
    nats: NatsServer, url: str, shop: Shop, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = Night("The clocks of hosts disagree", **shells(nats, url, shop.url, accountant()))
    async with (
        Node("books", url, nats.url, router=accountant()) as books,
        FakeProducer(nats.url) as producer,
    ):
        shifted = datetime.now(UTC) + timedelta(hours=hours)
        said = {"ce-time": shifted.isoformat().replace("+00:00", "Z")}
        published = [await producer.publish(sold(n), headers=said) for n in range(20)]
        await has_taken(books, 20)
        await night.is_quiet()
        assert "->" not in (await night.types("events status")).out
        await night.types("outbox status")
        assert sorted(await taken_ids(books)) == sorted(event.id for event in published)
    night.is_over()


async def test_a_consumer_was_rolled_back(nats: NatsServer, url: str, shop: Shop) -> None:
    shop.start_relay(nats.url)
    async with Node("books", url, nats.url, router=accountant(), version="2") as newer:
        await shop.publish(sold(0))
        await has_taken(newer, 1)
    events = EventRouter()

    @events.on(BookReturned)
    def take_back(book: BookReturned) -> None: ...

    night = Night("A consumer was rolled back", **shells(nats, url, shop.url, events))
    async with Node("books", url, nats.url, router=events, version="1"):
        waiting = await shop.publish(sold(0), sold(0))
        await shop.sent()
        status = await night.types("events status")
        assert re.search(r"v1\.BookSold +2 +0 +0 +0 +no$", status.out, re.M)
    async with Node("books", url, nats.url, router=accountant(), version="2") as newer:
        await has_taken(newer, 3)
        assert (await taken_ids(newer))[1:] == [event.id for event in waiting]
        await night.is_quiet()
    night.is_over()


async def test_the_stream_refuses_events(nats: NatsServer, shop: Shop) -> None:
    """`orders` stands for the publishing service here."""
    publishing = Shell(STREAM, shop.url, nats.url, router=EventRouter(), publishes=TYPES)
    night = Night("The stream refuses events", orders=publishing)
    view = StreamView(nats.url)
    shop.start_relay(nats.url)
    await shop.sell(range(3))
    await shop.sent()
    config = (await view.api(f"STREAM.INFO.{STREAM}"))["config"]
    await view.api(f"STREAM.UPDATE.{STREAM}", {**config, "max_msg_size": 8192})
    (big,) = await shop.publish(BookSold(book_id="big", customer_id="x" * 20_000))
    await shop.sent()
    assert big.id in (await night.types("outbox refused")).out
    await view.api(f"STREAM.UPDATE.{STREAM}", {**config, "max_msg_size": -1})
    assert "nothing was changed" in (await night.types("outbox resend")).err
    assert "done: 1" in (await night.types("outbox resend")).err
    await shop.sent()
    assert (await view.ids())[-1] == big.id
    night.is_over()


async def test_another_stream_holds_the_subjects(nats: NatsServer, shop: Shop) -> None:
    """`orders` stands for the publishing service here."""
    publishing = Shell(STREAM, shop.url, nats.url, router=EventRouter(), publishes=TYPES)
    night = Night("Another stream holds the subjects", orders=publishing)
    view = StreamView(nats.url)
    foreign = {"name": "foreign", "subjects": ["bookstore.v1.BookSold.*"]}
    await view.api("STREAM.CREATE.foreign", foreign)
    shop.start_relay(nats.url)
    await shop.publish(sold(0))
    assert re.search(rf"^{STREAM} +1 ", (await night.types("outbox status")).out, re.M)
    await view.api("STREAM.DELETE.foreign")
    await shop.sent()
    night.is_over()


async def test_the_schema_does_not_fit_the_code(tmp_path: Path) -> None:
    night = Night("The schema does not fit the code", orders=Shell("books", empty_url(tmp_path)))
    assert (await night.types("migrate")).code == OK
    again = await Shell("books", empty_url(tmp_path)).run("migrate")
    assert again.code == OK
    assert (await Shell("books", empty_url(tmp_path)).run("events", "status")).code == OK
    night.is_over()


def empty_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'empty.db'}"


async def test_a_type_is_not_handled_any_more(nats: NatsServer, url: str, shop: Shop) -> None:
    broken = EventRouter()

    @broken.on(BookSold)
    def sell(book: BookSold) -> None:
        raise ValueError("not yet")

    events = EventRouter()

    @events.on(BookReturned)
    def take_back(book: BookReturned) -> None: ...

    shop.start_relay(nats.url)
    patient = TestSettings(task_backoff_seconds=600)
    async with Node("books", url, nats.url, router=broken, settings=patient) as older:
        await shop.publish(sold(0))

        async def has_failed() -> bool:
            return len(await rows_of_tasks(older)) == 1

        await eventually(has_failed)
    night = Night("A type is not handled any more", **shells(nats, url, shop.url, events))
    async with Node("books", url, nats.url, router=events) as newer:
        assert "nothing was changed" in (await night.types("events retire")).err
        assert (await night.types("events retire")).code == OK
        assert await rows_of_tasks(newer) == []
        assert len(await dead(newer)) == 1
    night.is_over()
