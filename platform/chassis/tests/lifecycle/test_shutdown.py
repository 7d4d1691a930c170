"""The end: in order, within its time, with nothing cut off."""

import asyncio
import signal
import time
from pathlib import Path

import grpc.aio
import httpx
import pytest
from sqlalchemy import NullPool, Table, create_engine, func, select
from sqlalchemy.orm import Session
from stall import Stall

from bookstore.v1 import BooksServiceAsyncStub, BooksServiceStub, GetBookRequest, SellBookRequest
from chassis.database import tables
from chassis.events import outbox
from chassis.testing import NatsServer


async def test_running_work_is_finished_in_order_before_the_process_ends(tmp_path: Path) -> None:
    """A request, a call, an event stream and a handler are under way when the signal comes."""
    with NatsServer(tmp_path / "nats") as nats:
        stall = Stall(
            tmp_path, nats_url=nats.url, wrapping_seconds="1.5", shutdown_delay_seconds="0.5"
        )
        with stall:
            await stall.ready()
            async with (
                grpc.aio.insecure_channel(f"127.0.0.1:{stall.grpc_port}") as channel,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{stall.http_port}") as http,
                http.stream("GET", "/events", timeout=20) as stream,
            ):
                books: BooksServiceAsyncStub = BooksServiceStub(channel)
                await books.SellBook(SellBookRequest(book_id="7"))
                await stall.says("wrapping")
                call = asyncio.ensure_future(_get(books, "1"))
                request = asyncio.create_task(http.get("/slow/1"))
                events = stream.aiter_lines()
                assert await anext(events) == "data: hello"
                await asyncio.sleep(0.2)

                stall.signal()
                refused = await stall.answers("/readyz", 503)
                assert refused.json()["status"] == "draining"
                still_live = await stall.get("/livez")
                assert still_live is not None
                assert still_live.status_code == 200
                answered_while_draining = await stall.get("/slow/0")
                assert answered_while_draining is not None
                assert answered_while_draining.status_code == 200

                rest = [line async for line in events]
                assert "retry: 1000" in rest
                assert (await request).status_code == 200
                await call
            assert await stall.ended() == 0
    said = stall.said()
    assert said.index("draining") < said.index("wrapped") < said.index("stopped")
    assert [line for line in stall.lines() if line.get("level") == "error"] == []
    assert rows(tmp_path, tables.marks) == 0, "its lanes are let go, not left to time out"


async def _get(books: BooksServiceAsyncStub, seconds: str) -> None:
    await books.GetBook(GetBookRequest(book_id=seconds))


async def test_what_was_accepted_is_published_before_the_end(tmp_path: Path) -> None:
    """The broker hangs while calls are answered, and comes round after the signal."""
    with NatsServer(tmp_path / "nats") as nats:
        with Stall(tmp_path, nats_url=nats.url, shutdown_grace_seconds="60") as stall:
            await stall.ready()
            nats.pause()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{stall.grpc_port}") as channel:
                books: BooksServiceAsyncStub = BooksServiceStub(channel)
                for number in range(5):
                    await books.SellBook(SellBookRequest(book_id=str(number)))
            assert unsent(tmp_path) == 5
            stall.signal()
            await stall.says("draining")
            await asyncio.sleep(4)
            nats.resume()
            assert await stall.ended() == 0
        assert unsent(tmp_path) == 0


def rows(folder: Path, table: Table) -> int:
    engine = create_engine(f"sqlite:///{folder}/bookstore.db", poolclass=NullPool)
    with Session(engine) as session:
        return session.execute(select(func.count()).select_from(table)).scalar_one()


def unsent(folder: Path) -> int:
    engine = create_engine(f"sqlite:///{folder}/bookstore.db", poolclass=NullPool)
    with Session(engine) as session:
        return outbox.unsent_count(session)


async def test_while_it_drains_a_service_without_routes_stays_live_to_its_end(
    tmp_path: Path,
) -> None:
    stall = Stall(tmp_path, module="bookstall.without_routes")
    with stall:
        await stall.answers("/readyz", 200)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{stall.grpc_port}") as channel:
            books: BooksServiceAsyncStub = BooksServiceStub(channel)
            call = asyncio.ensure_future(_get(books, "1.5"))
            await asyncio.sleep(0.2)
            stall.signal()
            await stall.answers("/readyz", 503)
            await asyncio.sleep(0.7)  # the gRPC server waits for the call by now
            still_live = await stall.get("/livez")
            assert still_live is not None
            assert still_live.status_code == 200
            await call
        assert await stall.ended() == 0


async def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    with Stall(tmp_path, module="bookstall.without_routes") as stall:
        await stall.answers("/readyz", 200)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{stall.grpc_port}") as channel:
            books: BooksServiceAsyncStub = BooksServiceStub(channel)
            call = asyncio.ensure_future(_get(books, "15"))
            await asyncio.sleep(0.2)
            stall.signal()
            await stall.says("draining")
            started = time.monotonic()
            stall.signal(signal.SIGINT)
            assert await stall.ended() == 128 + signal.SIGINT
            assert time.monotonic() - started < 1
            with pytest.raises(grpc.aio.AioRpcError):
                await call


async def test_the_end_takes_no_longer_than_the_grace_time(tmp_path: Path) -> None:
    with Stall(tmp_path, shutdown_grace_seconds="2") as stall:
        await stall.answers("/readyz", 200)
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{stall.grpc_port}") as channel,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{stall.http_port}") as http,
        ):
            books: BooksServiceAsyncStub = BooksServiceStub(channel)
            call = asyncio.ensure_future(_get(books, "30"))
            request = asyncio.create_task(http.get("/slow/30", timeout=60))
            await asyncio.sleep(0.3)
            started = time.monotonic()
            stall.signal()
            await stall.ended()
            assert time.monotonic() - started < 3.5
            await asyncio.gather(call, request, return_exceptions=True)


async def test_an_idle_service_ends_soon_also_without_the_broker(tmp_path: Path) -> None:
    with Stall(tmp_path) as stall:
        await stall.answers("/readyz", 200)
        started = time.monotonic()
        stall.signal()
        assert await stall.ended() == 0
        assert time.monotonic() - started < 8


async def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    with Stall(tmp_path, database_url="postgresql+psycopg://postgres@127.0.0.1:1/x") as stall:
        await stall.answers("/livez", 200)
        stall.signal()
        assert await stall.ended() == 0
