"""The log has one full line for an event that fails, and a line for others on request."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
import structlog
from bookshop import Node, TestSettings, eventually, sold
from relaying import Shop
from shop_and_books import dead
from structlog.testing import capture_logs

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Reject, Transact, Unavailable
from chassis.database import Transaction
from chassis.settings import ServiceSettings
from chassis.telemetry import logging
from localservers import NatsServer

NewDatabase = Callable[[str], str]


@pytest.fixture
def url(prepared_sqlite: str, tmp_path: Any) -> str:
    import shutil

    return f"sqlite:///{shutil.copy(prepared_sqlite, tmp_path / 'books.db')}"


def failing(kind: str) -> EventRouter:
    """Return a handler of BookSold of some kind that fails at each try."""
    events = EventRouter()

    if kind == "def":

        @events.on(BookSold)
        def sell(book: BookSold) -> None:
            raise ValueError("no such book")

    elif kind == "async def":

        @events.on(BookSold)
        async def sell_outside(book: BookSold, transact: Transact) -> None:
            raise ValueError("no such book")

    elif kind == "on_batch":

        @events.on_batch(BookSold)
        def sell_all(books: list[BookSold]) -> None:
            raise ValueError("no such book")

    elif kind == "away":

        @events.on(BookSold)
        async def ask(book: BookSold, transact: Transact) -> None:
            raise Unavailable("no server is there")

    else:

        @events.on(BookSold)
        def reject(book: BookSold) -> None:
            raise Reject("no such book")

    return events


async def failures_of_one_event(
    nats: NatsServer, url: str, kind: str, until: Callable[[list[Any], Node], Any]
) -> tuple[EventContext, list[Any]]:
    """Publish one event for a failing handler; return its attributes and log lines."""
    books = Node("books", url, nats.url, router=failing(kind))
    shop_url = url.replace("books.db", "shop.db")
    async with Shop(shop_url) as shop:
        shop.start_relay(nats.url)
        with capture_logs() as logs:
            async with books:
                (event,) = await shop.publish(sold(7))

                async def is_over() -> bool:
                    of_event = [line for line in logs if line.get("event_id") == event.id]
                    return bool(await until(of_event, books))

                await eventually(is_over)
    return event, [line for line in logs if line.get("event_id") == event.id]


async def is_dead(_: list[Any], books: Node) -> bool:
    return bool(await dead(books))


@pytest.mark.parametrize("kind", ["def", "async def", "on_batch"])
async def test_a_handler_that_fails_is_logged_with_its_traceback_once_for_each_event(
    nats: NatsServer, url: str, kind: str
) -> None:
    event, lines = await failures_of_one_event(nats, url, kind, is_dead)
    assert len(lines) == TestSettings().task_tries
    traced = [line for line in lines if "exc_info" in line]
    assert traced == lines[:1]
    assert str(traced[0]["exc_info"]) == "no such book"
    assert traced[0]["exc_info"].__traceback__ is not None
    for line in lines:
        assert "test_logged_events.failing.<locals>.sell" in line["handler"]
        assert (line["key"], line["event_id"]) == ("book-7", event.id)
        assert line["reason"] == "ValueError: no such book"
    assert lines[-1]["event"] == "event became a dead letter; later events of its key continue"


async def test_what_a_handler_rejects_needs_no_traceback(nats: NatsServer, url: str) -> None:
    _, lines = await failures_of_one_event(nats, url, "rejects", is_dead)
    assert lines
    assert [line for line in lines if "exc_info" in line] == []
    assert {line["reason"] for line in lines} == {"rejected: no such book"}


async def test_an_unavailable_called_service_needs_no_traceback(nats: NatsServer, url: str) -> None:
    async def tried_twice(lines: list[Any], _: Node) -> bool:
        return len(lines) >= 2

    _, lines = await failures_of_one_event(nats, url, "away", tried_twice)
    assert [line for line in lines if "exc_info" in line] == []


def test_the_event_id_is_complete_on_a_terminal() -> None:
    out = StringIO()
    before = structlog.get_config()
    settings = ServiceSettings(log_format="console")
    try:
        logging.configure("books", settings, out)
        structlog.get_logger().warning(
            "event handler failed; storing the event as a task", event_id="01a2-4b5c-6d7e-8f90"
        )
        structlog.get_logger().info("event handled", event_id="01a2-4b5c-6d7e-8f90")
    finally:
        structlog.configure(**before)
    assert out.getvalue().count("01a2-4b5c-6d7e-8f90") == 1
    assert "6d7e-8f90" in out.getvalue().splitlines()[1] or "7e-8f90" in out.getvalue()


@pytest.mark.parametrize("asked", [True, False])
async def test_a_setting_logs_each_event_that_took_effect(
    nats: NatsServer, url: str, asked: bool
) -> None:
    events = EventRouter()

    @events.on(BookSold)
    def sell(book: BookSold, tx: Transaction, event: EventContext) -> None: ...

    @events.on(BookReturned)
    async def take_back(book: BookReturned, transact: Transact) -> None: ...

    settings = TestSettings(log_events=asked)
    books = Node("books", url, nats.url, router=events, settings=settings)
    async with Shop(url.replace("books.db", "shop.db")) as shop:
        shop.start_relay(nats.url)
        with capture_logs() as logs:
            async with books:
                published = await shop.publish(sold(1), sold(2), BookReturned(book_id="book-3"))
                await shop.sent()

                async def is_handled() -> bool:
                    ledger = await books.path.ledger()
                    positions = await shop.unsent()
                    return not (ledger.lag or ledger.tasks or positions) and reads(books)

                await eventually(is_handled)
    lines = [line for line in logs if line["event"] == "event handled"]
    told = {(line["type"], line["event_id"], line["key"]) for line in lines}
    expected = {(e.type, e.id, e.partition_key) for e in published}
    assert told == (expected if asked else set())


def reads(node: Node) -> bool:
    return all(reader.lanes_known for reader in node.path.readers)
