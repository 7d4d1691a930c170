"""Limits against too many calls, and against clients that send too much or nothing."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from books_rpc import Servers, raw_channel
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_status import rpc_status  # type: ignore[import-untyped]

from bookstore.v1 import (
    BooksServiceAsyncStub,
    BooksServiceStub,
    GetBookRequest,
    GetBookResponse,
    SellBookRequest,
    SellBookResponse,
)
from chassis import Overloaded, ServiceSettings
from chassis.rpc.server import RpcServer

AT_WORK, WAITING = 3, 2


class Books:
    at_work = 0
    most_at_work = 0
    finish = asyncio.Event()

    async def sell_book(self, request: SellBookRequest) -> SellBookResponse:
        Books.at_work += 1
        Books.most_at_work = max(Books.at_work, Books.most_at_work)
        await Books.finish.wait()
        Books.at_work -= 1
        return SellBookResponse()

    async def get_book(self, request: GetBookRequest) -> GetBookResponse:
        return GetBookResponse()


@pytest.fixture(autouse=True)
def _unfinished() -> None:
    Books.at_work, Books.most_at_work, Books.finish = 0, 0, asyncio.Event()


async def start(rpc: Servers, **limits: Any) -> RpcServer:
    defaults = {"grpc_max_requests": AT_WORK, "grpc_max_waiting": WAITING}
    return await rpc.start(Books, settings=ServiceSettings(grpc_port=0, **(defaults | limits)))


async def test_under_four_times_the_load_accepted_calls_finish_and_others_are_refused(
    rpc: Servers,
) -> None:
    server = await start(rpc)
    capacity = AT_WORK + WAITING
    async with raw_channel(server.port) as channel:
        stub: BooksServiceAsyncStub = BooksServiceStub(channel)

        async def sell() -> grpc.aio.AioRpcError | None:
            try:
                await stub.SellBook(SellBookRequest())
            except grpc.aio.AioRpcError as error:
                return error
            return None

        sales = [asyncio.create_task(sell()) for _ in range(4 * capacity)]
        done: set[asyncio.Task[grpc.aio.AioRpcError | None]] = set()
        while len(done) < 3 * capacity:
            more, _ = await asyncio.wait(
                set(sales) - done, timeout=60, return_when=asyncio.FIRST_COMPLETED
            )
            assert more, "the refused are answered while the accepted are at work"
            done |= more
        for task in done:
            error = task.result()
            assert error is not None
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert _retry_seconds(error) == 1
        health = health_pb2_grpc.HealthStub(channel)
        await health.Check(health_pb2.HealthCheckRequest()), "whoever asks how it is"
        Books.finish.set()
        answers = await asyncio.gather(*sales)
    assert answers.count(None) == capacity
    assert Books.most_at_work == AT_WORK


def _retry_seconds(error: grpc.aio.AioRpcError) -> float:
    (packed,) = rpc_status.from_call(error).details
    retry = RetryInfo()
    assert packed.Unpack(retry)
    seconds: float = retry.retry_delay.ToMilliseconds() / 1000
    return seconds


async def test_a_refused_service_learns_when_to_retry(rpc: Servers) -> None:
    server = await start(rpc, grpc_max_requests=1, grpc_max_waiting=0)
    stub = await rpc.stub(server.port)
    sale = asyncio.create_task(_sell(stub))
    async with asyncio.timeout(60):
        while not Books.at_work:
            await asyncio.sleep(0.01)
    with pytest.raises(Overloaded, match="too many gRPC calls") as refused:
        await stub.GetBook(GetBookRequest())
    assert refused.value.retry_after == 1
    Books.finish.set()
    await sale
    await stub.GetBook(GetBookRequest())


async def _sell(stub: BooksServiceAsyncStub) -> SellBookResponse:
    return await stub.SellBook(SellBookRequest())


@pytest.mark.parametrize(
    ("request_bytes", "metadata_bytes"), [(5000, 0), (0, 5000)], ids=["message", "metadata"]
)
async def test_a_call_that_is_too_large_is_refused(
    rpc: Servers, request_bytes: int, metadata_bytes: int
) -> None:
    server = await start(rpc, grpc_max_message_bytes=4000, grpc_max_metadata_bytes=4000)
    async with raw_channel(server.port) as channel:
        stub: BooksServiceAsyncStub = BooksServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetBook(
                GetBookRequest(book_id="a" * request_bytes),
                metadata=[("x-a", "a" * metadata_bytes)],
            )
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await stub.GetBook(GetBookRequest())


async def test_a_silent_connection_is_closed(rpc: Servers) -> None:
    server = await start(rpc, grpc_handshake_timeout_seconds=0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(60):
        assert b"handshake timeout" in await reader.read()
    writer.close()


async def test_an_idle_connection_is_closed_and_reopened_by_the_next_call(
    rpc: Servers,
) -> None:
    server = await start(rpc, grpc_idle_timeout_seconds=0.2)
    async with raw_channel(server.port) as channel:
        stub: BooksServiceAsyncStub = BooksServiceStub(channel)
        await stub.GetBook(GetBookRequest())
        async with asyncio.timeout(60):
            while channel.get_state() is grpc.ChannelConnectivity.READY:
                await asyncio.sleep(0.01)
        await stub.GetBook(GetBookRequest())


async def test_connections_above_the_limit_are_closed_at_once(rpc: Servers) -> None:
    server = await start(rpc, grpc_max_connections=2)
    opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
    for reader, _ in opened:
        assert await asyncio.wait_for(reader.read(1), 60), "the server's settings"
    extra, writer = await asyncio.open_connection("127.0.0.1", server.port)
    opened.append((extra, writer))
    assert await asyncio.wait_for(extra.read(), 60) == b""
    for _, each in opened:
        each.close()
