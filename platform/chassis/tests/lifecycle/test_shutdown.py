"""The stop: in order, within the grace time, without losing work."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import httpx
import pytest
from blocking_collector import BlockingCollector
from bookstore_process import BookstoreProcess
from relaying import StreamView
from sqlalchemy import NullPool, create_engine, func, select
from sqlalchemy.orm import Session

from bookstore.v1 import BooksServiceAsyncStub, BooksServiceStub, GetBookRequest, SellBookRequest
from chassis.database import tables
from chassis.events.producer import outbox
from chassis.events.wire.lanes import LANES, lane_of
from localservers import NatsServer

NewDatabase = Callable[[str], str]
# A process may start slowly on a busy machine.
pytestmark = pytest.mark.timeout(300)
# A grace time longer than any test, so that a process does not end because of it.
NEVER = "600"
STEPS = ["servers", "lanes", "outbox", "broker", "clients", "database", "probes and metrics"]


@asynccontextmanager
async def books_client(bookstore: BookstoreProcess) -> AsyncIterator[BooksServiceAsyncStub]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{bookstore.grpc_port}") as channel:
        yield BooksServiceStub(channel)


async def get_book(books: BooksServiceAsyncStub) -> None:
    await books.GetBook(GetBookRequest())


def unsent_events(url: str) -> int:
    engine = create_engine(url, poolclass=NullPool)
    with Session(engine) as session:
        return outbox.unsent_count(session)


async def wait_for_released_lanes(url: str) -> None:
    """Wait until no member has marked a lane."""
    engine = create_engine(url, poolclass=NullPool)
    async with asyncio.timeout(100):
        while True:
            with Session(engine) as session:
                if session.scalar(select(func.count()).select_from(tables.marks)) == 0:
                    return
            await asyncio.sleep(0.05)


async def test_running_work_is_finished_in_order_before_the_process_ends(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    """The signal comes while a request, a call, an event stream and a handler run."""
    url = empty_database("bookstore")
    bookstore = BookstoreProcess(
        tmp_path,
        nats_url=nats.url,
        database_url=url,
        copies="3",
        shutdown_grace_seconds=NEVER,
        log_level="DEBUG",
    )
    bookstore.hold_back("wrapping", "call", "request")
    with bookstore:
        await bookstore.wait_until_ready()
        async with (
            books_client(bookstore) as books,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{bookstore.http_port}") as http,
            http.stream("GET", "/events", timeout=60) as stream,
        ):
            await books.SellBook(SellBookRequest(book_id="7"))
            call = asyncio.ensure_future(get_book(books))
            request = asyncio.create_task(http.get("/books", timeout=60))
            events = stream.aiter_lines()
            assert await anext(events) == "data: hello"
            for begun in ("wrapping", "looking", "listing"):
                await bookstore.wait_for_log(begun)

            bookstore.send_signal()
            assert "retry: 1000" in [line async for line in events]
            bookstore.release("request")
            assert (await request).status_code == 200
            bookstore.release("call")
            await call
        assert "wrapped" not in bookstore.logged_events()
        nats.pause()
        bookstore.release("wrapping")
        await wait_for_released_lanes(url)
        await bookstore.wait_for_log("shutdown step began", step="outbox")
        nats.resume()
        assert await bookstore.wait_for_exit() == 0
    said = [line.get("status", line["event"]) for line in bookstore.log_lines()]
    assert said.index("draining") < said.index("wrapped") < said.index("service stopped")
    assert [line for line in bookstore.log_lines() if line.get("level") == "error"] == []
    steps = [
        line["step"] for line in bookstore.log_lines() if line["event"] == "shutdown step began"
    ]
    assert steps == STEPS
    # The outbox is sent after the lanes are released, so that the handler's last events are sent.
    subjects = [message.subject for message in await StreamView(nats.url).messages()]
    assert sum("BookReturned" in subject for subject in subjects) == 3
    assert unsent_events(url) == 0


async def test_the_span_of_the_last_handler_reaches_the_tracing_backend(
    tmp_path: Path, nats: NatsServer
) -> None:
    """Telemetry is the last part that stops."""
    async with BlockingCollector.started() as collector:
        bookstore = BookstoreProcess(
            tmp_path,
            nats_url=nats.url,
            otlp_endpoint=collector.endpoint,
            shutdown_grace_seconds=NEVER,
        )
        bookstore.hold_back("wrapping")
        with bookstore:
            await bookstore.wait_until_ready()
            async with books_client(bookstore) as books:
                await books.SellBook(SellBookRequest(book_id="7"))
            await bookstore.wait_for_log("wrapping")
            bookstore.send_signal()
            await bookstore.wait_for_log("readiness changed", status="draining")
            bookstore.release("wrapping")
            await bookstore.wait_for_log("wrapped")
            collector.may_answer.set()
            assert await bookstore.wait_for_exit() == 0
        assert collector.spans.count("handle bookstore.v1.BookSold") == 1


async def test_a_draining_service_keeps_serving_for_the_shutdown_delay(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    """Load balancers need a moment to route requests to other replicas."""
    bookstore = BookstoreProcess(
        tmp_path,
        database_url=empty_database("bookstore"),
        shutdown_delay_seconds=NEVER,
        shutdown_grace_seconds=NEVER,
    )
    with bookstore:
        await bookstore.wait_for_answer("/readyz", 200)
        bookstore.send_signal()
        refused = await bookstore.wait_for_answer("/readyz", 503)
        assert refused.json()["status"] == "draining"
        await bookstore.wait_for_answer("/livez", 200)
        await bookstore.wait_for_answer("/books", 200)
        async with books_client(bookstore) as books:
            await get_book(books)


async def test_another_replica_takes_over_lanes_without_suspecting_the_one_that_stopped(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    """The test is too short for a member to be lost because of its time to live."""
    url = empty_database("bookstore")
    one, other = (
        BookstoreProcess(
            tmp_path / name,
            nats_url=nats.url,
            database_url=url,
            member_ttl_seconds=NEVER,
            net_seconds=NEVER,
        )
        for name in ("one", "other")
    )
    keys = {lane_of(str(number)): str(number) for number in range(1000)}
    assert len(keys) == LANES
    with one, other:
        await one.wait_until_ready()
        await other.wait_until_ready()
        async with books_client(other) as books:

            async def sell_in_each_lane() -> None:
                for key in keys.values():
                    await books.SellBook(SellBookRequest(book_id=key))

            shared = False
            while not shared:
                before = [bookstore.logged_events().count("wrapped") for bookstore in (one, other)]
                await sell_in_each_lane()
                await wait_for_wrapped(sum(before) + LANES, one, other)
                now = [bookstore.logged_events().count("wrapped") for bookstore in (one, other)]
                shared = all(n > b for n, b in zip(now, before, strict=True))
            one.send_signal()
            assert await one.wait_for_exit() == 0
            await sell_in_each_lane()
            await wait_for_wrapped(sum(now) + LANES, one, other)
    unexpected = ("member died", "members are gone")
    assert [event for event in other.logged_events() if event.startswith(unexpected)] == []


async def wait_for_wrapped(times: int, *services: BookstoreProcess) -> None:
    async with asyncio.timeout(100):
        while sum(bookstore.logged_events().count("wrapped") for bookstore in services) < times:
            await asyncio.sleep(0.05)


async def test_accepted_work_is_published_before_the_end(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    """The broker hangs while calls are answered, and continues after the signal."""
    url = empty_database("bookstore")
    bookstore = BookstoreProcess(
        tmp_path, nats_url=nats.url, database_url=url, shutdown_grace_seconds="100"
    )
    with bookstore:
        await bookstore.wait_until_ready()
        nats.pause()
        async with books_client(bookstore) as books:
            for number in range(5):
                await books.SellBook(SellBookRequest(book_id=str(number)))
        assert unsent_events(url) == 5
        bookstore.send_signal()
        while await bookstore.get("/livez") is not None:
            await asyncio.sleep(0.05)
        nats.resume()
        assert await bookstore.wait_for_exit(100) == 0
    assert unsent_events(url) == 0


async def test_a_draining_service_without_routes_stays_live_to_its_end(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    bookstore = without_routes(tmp_path, empty_database("bookstore"))
    bookstore.hold_back("call")
    with bookstore:
        await bookstore.wait_for_answer("/readyz", 200)
        async with books_client(bookstore) as books:
            call = asyncio.ensure_future(get_book(books))
            await bookstore.wait_for_log("looking")
            bookstore.send_signal()
            await bookstore.wait_for_answer("/readyz", 503)
            await wait_until_calls_are_refused(bookstore)
            await bookstore.wait_for_answer("/livez", 200)
            bookstore.release("call")
            await call
        assert await bookstore.wait_for_exit() == 0


def without_routes(tmp_path: Path, database_url: str) -> BookstoreProcess:
    """Return a service that serves gRPC, HTTP for its probes only, and has no grace time."""
    return BookstoreProcess(
        tmp_path,
        module="bookstore_service.without_routes",
        database_url=database_url,
        shutdown_grace_seconds=NEVER,
    )


async def wait_until_calls_are_refused(bookstore: BookstoreProcess) -> None:
    """Wait until the gRPC server accepts no more calls."""
    async with asyncio.timeout(60):
        while await accepts_calls(bookstore):
            await asyncio.sleep(0.05)


async def accepts_calls(bookstore: BookstoreProcess) -> bool:
    async with books_client(bookstore) as books:
        try:
            await books.SellBook(SellBookRequest(book_id="late"))
        except grpc.aio.AioRpcError:
            return False
        return True


async def test_a_second_signal_ends_the_process_at_once(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    bookstore = without_routes(tmp_path, empty_database("bookstore"))
    bookstore.hold_back("call")
    with bookstore:
        await bookstore.wait_for_answer("/readyz", 200)
        async with books_client(bookstore) as books:
            call = asyncio.ensure_future(get_book(books))
            await bookstore.wait_for_log("looking")
            bookstore.send_signal()
            await bookstore.wait_for_log("readiness changed", status="draining")
            bookstore.send_signal(signal.SIGINT)
            assert await bookstore.wait_for_exit() == 128 + signal.SIGINT
            with pytest.raises(grpc.aio.AioRpcError):
                await call


async def test_the_stop_takes_no_longer_than_the_grace_time(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    """The handler, the call and the request would never end by themselves."""
    bookstore = BookstoreProcess(
        tmp_path,
        nats_url=nats.url,
        database_url=empty_database("bookstore"),
        shutdown_grace_seconds="2",
    )
    bookstore.hold_back("wrapping", "call", "request")
    with bookstore:
        await bookstore.wait_until_ready()
        async with (
            books_client(bookstore) as books,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{bookstore.http_port}") as http,
        ):
            await books.SellBook(SellBookRequest(book_id="7"))
            call = asyncio.ensure_future(get_book(books))
            request = asyncio.create_task(http.get("/books", timeout=60))
            for begun in ("wrapping", "looking", "listing"):
                await bookstore.wait_for_log(begun)
            bookstore.send_signal()
            await bookstore.wait_for_exit()
            await asyncio.gather(call, request, return_exceptions=True)


async def test_an_idle_service_without_the_broker_needs_no_grace_time(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    bookstore = BookstoreProcess(
        tmp_path, database_url=empty_database("bookstore"), shutdown_grace_seconds=NEVER
    )
    with bookstore:
        await bookstore.wait_for_answer("/readyz", 200)
        bookstore.send_signal()
        assert await bookstore.wait_for_exit() == 0


async def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    with BookstoreProcess(
        tmp_path, database_url="postgresql+psycopg://postgres@127.0.0.1:1/x"
    ) as bookstore:
        await bookstore.wait_for_answer("/livez", 200)
        bookstore.send_signal()
        assert await bookstore.wait_for_exit() == 0
