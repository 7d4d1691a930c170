"""The end: in order, within its time, with nothing cut off."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import httpx
import pytest
from outside_collector import OutsideCollector
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
# A process may take long to start beside many others.
pytestmark = pytest.mark.timeout(300)
# Longer than any test: what ends by this alone does not end.
NEVER = "600"


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
    """Wait until no member has marked a lane as its own."""
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
    """A request, a call, an event stream and a handler are under way when the signal comes."""
    url = empty_database("bookstore")
    stall = Stall(
        tmp_path,
        nats_url=nats.url,
        database_url=url,
        copies="3",
        shutdown_grace_seconds=NEVER,
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
        await asyncio.sleep(2)  # were it about to end without its events, it would
        nats.resume()
        assert await stall.ended() == 0
    said = [line.get("status", line["event"]) for line in stall.lines()]
    assert said.index("draining") < said.index("wrapped") < said.index("service stopped")
    assert [line for line in stall.lines() if line.get("level") == "error"] == []
    # The outbox ends after the lanes: what the handler published at its end is in the stream.
    subjects = [message.subject for message in await StreamView(nats.url).messages()]
    assert sum("BookReturned" in subject for subject in subjects) == 3
    assert unsent(url) == 0


async def test_the_tracing_backend_is_told_of_a_handler_that_was_waited_for(
    tmp_path: Path, nats: NatsServer
) -> None:
    """Telemetry ends last."""
    async with OutsideCollector.started() as collector:
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


async def test_for_a_while_it_serves_on_after_it_has_said_that_it_is_not_ready(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    """Whoever routes work to it needs a moment to look elsewhere."""
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


async def test_another_replica_takes_the_lanes_of_one_that_ended_without_suspecting_it(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    """By time alone nobody would be missed in this test."""
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


async def test_what_was_accepted_is_published_before_the_end(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    """The broker hangs while calls are answered, and comes round after the signal."""
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


async def test_while_it_drains_a_service_without_routes_stays_live_to_its_end(
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
    """It serves gRPC, and HTTP for its probes only; its end may take as long as it likes."""
    return Stall(
        tmp_path,
        module="bookstall.without_routes",
        database_url=database_url,
        shutdown_grace_seconds=NEVER,
    )


async def takes_no_calls(stall: Stall) -> None:
    """Wait until its gRPC server waits for running calls only."""
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


async def test_the_end_takes_no_longer_than_the_grace_time(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    """Nothing that runs would ever end by itself."""
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


async def test_an_idle_service_needs_no_grace_time_also_without_the_broker(
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
