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
from relaying import StreamView
from sqlalchemy import NullPool, create_engine, func, select
from sqlalchemy.orm import Session
from stall import Stall

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
async def books_of(stall: Stall) -> AsyncIterator[BooksServiceAsyncStub]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stall.grpc_port}") as channel:
        yield BooksServiceStub(channel)


async def looked_up(books: BooksServiceAsyncStub) -> None:
    await books.GetBook(GetBookRequest())


def unsent(url: str) -> int:
    engine = create_engine(url, poolclass=NullPool)
    with Session(engine) as session:
        return outbox.unsent_count(session)


async def lanes_let_go(url: str) -> None:
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
    stall = Stall(
        tmp_path,
        nats_url=nats.url,
        database_url=url,
        copies="3",
        shutdown_grace_seconds=NEVER,
        log_level="DEBUG",
    )
    stall.hold("wrapping", "call", "request")
    with stall:
        await stall.ready()
        async with (
            books_of(stall) as books,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{stall.http_port}") as http,
            http.stream("GET", "/events", timeout=60) as stream,
        ):
            await books.SellBook(SellBookRequest(book_id="7"))
            call = asyncio.ensure_future(looked_up(books))
            request = asyncio.create_task(http.get("/books", timeout=60))
            events = stream.aiter_lines()
            assert await anext(events) == "data: hello"
            for begun in ("wrapping", "looking", "listing"):
                await stall.says(begun)

            stall.signal()
            assert "retry: 1000" in [line async for line in events]
            stall.release("request")
            assert (await request).status_code == 200
            stall.release("call")
            await call
        assert "wrapped" not in stall.said()
        nats.pause()
        stall.release("wrapping")
        await lanes_let_go(url)
        await stall.says("shutdown step began", step="outbox")
        nats.resume()
        assert await stall.ended() == 0
    said = [line.get("status", line["event"]) for line in stall.lines()]
    assert said.index("draining") < said.index("wrapped") < said.index("service stopped")
    assert [line for line in stall.lines() if line.get("level") == "error"] == []
    steps = [line["step"] for line in stall.lines() if line["event"] == "shutdown step began"]
    assert steps == STEPS
    # The outbox is sent after the lanes are released, so that the handler's last events are sent.
    subjects = [message.subject for message in await StreamView(nats.url).messages()]
    assert sum("BookReturned" in subject for subject in subjects) == 3
    assert unsent(url) == 0


async def test_the_span_of_the_last_handler_reaches_the_tracing_backend(
    tmp_path: Path, nats: NatsServer
) -> None:
    """Telemetry is the last part that stops."""
    async with BlockingCollector.started() as collector:
        stall = Stall(
            tmp_path,
            nats_url=nats.url,
            otlp_endpoint=collector.endpoint,
            shutdown_grace_seconds=NEVER,
        )
        stall.hold("wrapping")
        with stall:
            await stall.ready()
            async with books_of(stall) as books:
                await books.SellBook(SellBookRequest(book_id="7"))
            await stall.says("wrapping")
            stall.signal()
            await stall.says("readiness changed", status="draining")
            stall.release("wrapping")
            await stall.says("wrapped")
            collector.may_answer.set()
            assert await stall.ended() == 0
        assert collector.spans.count("handle bookstore.v1.BookSold") == 1


async def test_a_draining_service_keeps_serving_for_the_shutdown_delay(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    """Load balancers need a moment to route requests to other replicas."""
    stall = Stall(
        tmp_path,
        database_url=empty_database("bookstore"),
        shutdown_delay_seconds=NEVER,
        shutdown_grace_seconds=NEVER,
    )
    with stall:
        await stall.answers("/readyz", 200)
        stall.signal()
        refused = await stall.answers("/readyz", 503)
        assert refused.json()["status"] == "draining"
        await stall.answers("/livez", 200)
        await stall.answers("/books", 200)
        async with books_of(stall) as books:
            await looked_up(books)


async def test_another_replica_takes_over_lanes_without_suspecting_the_one_that_stopped(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    """The test is too short for a member to be lost because of its time to live."""
    url = empty_database("bookstore")
    one, other = (
        Stall(
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
        await one.ready()
        await other.ready()
        async with books_of(other) as books:

            async def sell_in_each_lane() -> None:
                for key in keys.values():
                    await books.SellBook(SellBookRequest(book_id=key))

            shared = False
            while not shared:
                before = [stall.said().count("wrapped") for stall in (one, other)]
                await sell_in_each_lane()
                await wrapped(sum(before) + LANES, one, other)
                now = [stall.said().count("wrapped") for stall in (one, other)]
                shared = all(n > b for n, b in zip(now, before, strict=True))
            one.signal()
            assert await one.ended() == 0
            await sell_in_each_lane()
            await wrapped(sum(now) + LANES, one, other)
    unexpected = ("member died", "members are gone")
    assert [event for event in other.said() if event.startswith(unexpected)] == []


async def wrapped(times: int, *stalls: Stall) -> None:
    async with asyncio.timeout(100):
        while sum(stall.said().count("wrapped") for stall in stalls) < times:
            await asyncio.sleep(0.05)


async def test_accepted_work_is_published_before_the_end(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    """The broker hangs while calls are answered, and continues after the signal."""
    url = empty_database("bookstore")
    stall = Stall(tmp_path, nats_url=nats.url, database_url=url, shutdown_grace_seconds="100")
    with stall:
        await stall.ready()
        nats.pause()
        async with books_of(stall) as books:
            for number in range(5):
                await books.SellBook(SellBookRequest(book_id=str(number)))
        assert unsent(url) == 5
        stall.signal()
        while await stall.get("/livez") is not None:
            await asyncio.sleep(0.05)
        nats.resume()
        assert await stall.ended(100) == 0
    assert unsent(url) == 0


async def test_a_draining_service_without_routes_stays_live_to_its_end(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    stall = without_routes(tmp_path, empty_database("bookstore"))
    stall.hold("call")
    with stall:
        await stall.answers("/readyz", 200)
        async with books_of(stall) as books:
            call = asyncio.ensure_future(looked_up(books))
            await stall.says("looking")
            stall.signal()
            await stall.answers("/readyz", 503)
            await takes_no_calls(stall)
            await stall.answers("/livez", 200)
            stall.release("call")
            await call
        assert await stall.ended() == 0


def without_routes(tmp_path: Path, database_url: str) -> Stall:
    """Return a service that serves gRPC, HTTP for its probes only, and has no grace time."""
    return Stall(
        tmp_path,
        module="bookstall.without_routes",
        database_url=database_url,
        shutdown_grace_seconds=NEVER,
    )


async def takes_no_calls(stall: Stall) -> None:
    """Wait until the gRPC server accepts no more calls."""
    async with asyncio.timeout(60):
        while await is_served(stall):
            await asyncio.sleep(0.05)


async def is_served(stall: Stall) -> bool:
    async with books_of(stall) as books:
        try:
            await books.SellBook(SellBookRequest(book_id="late"))
        except grpc.aio.AioRpcError:
            return False
        return True


async def test_a_second_signal_ends_the_process_at_once(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    stall = without_routes(tmp_path, empty_database("bookstore"))
    stall.hold("call")
    with stall:
        await stall.answers("/readyz", 200)
        async with books_of(stall) as books:
            call = asyncio.ensure_future(looked_up(books))
            await stall.says("looking")
            stall.signal()
            await stall.says("readiness changed", status="draining")
            stall.signal(signal.SIGINT)
            assert await stall.ended() == 128 + signal.SIGINT
            with pytest.raises(grpc.aio.AioRpcError):
                await call


async def test_the_stop_takes_no_longer_than_the_grace_time(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    """The handler, the call and the request would never end by themselves."""
    stall = Stall(
        tmp_path,
        nats_url=nats.url,
        database_url=empty_database("bookstore"),
        shutdown_grace_seconds="2",
    )
    stall.hold("wrapping", "call", "request")
    with stall:
        await stall.ready()
        async with (
            books_of(stall) as books,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{stall.http_port}") as http,
        ):
            await books.SellBook(SellBookRequest(book_id="7"))
            call = asyncio.ensure_future(looked_up(books))
            request = asyncio.create_task(http.get("/books", timeout=60))
            for begun in ("wrapping", "looking", "listing"):
                await stall.says(begun)
            stall.signal()
            await stall.ended()
            await asyncio.gather(call, request, return_exceptions=True)


async def test_an_idle_service_without_the_broker_needs_no_grace_time(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    stall = Stall(tmp_path, database_url=empty_database("bookstore"), shutdown_grace_seconds=NEVER)
    with stall:
        await stall.answers("/readyz", 200)
        stall.signal()
        assert await stall.ended() == 0


async def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    with Stall(tmp_path, database_url="postgresql+psycopg://postgres@127.0.0.1:1/x") as stall:
        await stall.answers("/livez", 200)
        stall.signal()
        assert await stall.ended() == 0
