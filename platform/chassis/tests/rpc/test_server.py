"""The server of RPCs: its port, health, reflection, metrics and stop."""

import asyncio
from collections.abc import Callable

import grpc
import grpc.aio
import pytest
from books_rpc import Servers, raw_channel
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # type: ignore[import-untyped]
    ProtoReflectionDescriptorDatabase,
)
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from bookstore.v1 import (
    BooksServiceAsyncStub,
    BooksServiceStub,
    GetBookRequest,
    GetBookResponse,
    SellBookRequest,
    SellBookResponse,
)
from chassis import NotFound
from chassis.ports import PortInUse
from chassis.settings import ServiceSettings

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Books:
    selling = asyncio.Event()
    finish = asyncio.Event()

    async def sell_book(self, request: SellBookRequest) -> SellBookResponse:
        Books.selling.set()
        await Books.finish.wait()
        return SellBookResponse()

    async def get_book(self, request: GetBookRequest) -> GetBookResponse:
        if request.book_id:
            raise NotFound("no such book")
        return GetBookResponse()


@pytest.fixture(autouse=True)
def _unfinished() -> None:
    Books.selling, Books.finish = asyncio.Event(), asyncio.Event()


async def test_a_port_in_use_is_refused_with_the_setting_to_change(
    rpc: Servers,
) -> None:
    first = await rpc.start(Books)
    with pytest.raises(PortInUse, match=f"port {first.port} on 127.0.0.1.*APP_GRPC_PORT"):
        await rpc.start(Books, port=first.port)


async def test_health_follows_readiness_for_the_server_and_each_contract(rpc: Servers) -> None:
    server = await rpc.start(Books)
    async with raw_channel(server.port) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        async def says(name: str) -> int:
            answered = await health.Check(health_pb2.HealthCheckRequest(service=name))
            status: int = answered.status
            return status

        for name in ("", "bookstore.v1.BooksService"):
            assert await says(name) == NOT_SERVING, "before it is ready"
        await server.set_serving(True)
        for name in ("", "bookstore.v1.BooksService"):
            assert await says(name) == SERVING
        await server.drain()
        await server.set_serving(True)
        for name in ("", "bookstore.v1.BooksService"):
            assert await says(name) == NOT_SERVING, "while it drains, whatever else happens"


async def test_reflection_lists_the_contracts(rpc: Servers) -> None:
    server = await rpc.start(Books)

    def listed() -> list[str]:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            return list(ProtoReflectionDescriptorDatabase(channel).get_services())

    assert {"bookstore.v1.BooksService", "grpc.health.v1.Health"} <= set(
        await asyncio.to_thread(listed)
    )


def handled(method: str, code: str) -> float:
    labels = {"method": f"bookstore.v1.BooksService/{method}", "code": code}
    return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0


def timed(method: str) -> float:
    labels = {"method": f"bookstore.v1.BooksService/{method}"}
    return REGISTRY.get_sample_value("grpc_server_handling_seconds_count", labels) or 0


async def test_calls_are_counted_by_method_and_code_and_timed(rpc: Servers) -> None:
    server = await rpc.start(Books)
    stub = await rpc.stub(server.port)
    fine, missing, times = (
        handled("GetBook", "OK"),
        handled("GetBook", "NOT_FOUND"),
        timed("GetBook"),
    )
    await stub.GetBook(GetBookRequest())
    await stub.GetBook(GetBookRequest())
    with pytest.raises(NotFound):
        await stub.GetBook(GetBookRequest(book_id="gone"))
    await counted(lambda: timed("GetBook") - times == 3)
    await counted(lambda: handled("GetBook", "NOT_FOUND") - missing == 1)
    assert handled("GetBook", "OK") - fine == 2


async def counted(holds: Callable[[], bool]) -> None:
    """Wait for a count, since a call is counted after its answer is sent."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_server_that_stops_finishes_running_calls_and_takes_no_new_ones(
    rpc: Servers,
) -> None:
    server = await rpc.start(Books)
    async with raw_channel(server.port) as channel:
        running: BooksServiceAsyncStub = BooksServiceStub(channel)
        sale = asyncio.ensure_future(_sell(running))
        await Books.selling.wait()
        stopping = asyncio.create_task(server.stop(600))
        async with asyncio.timeout(60):
            while await _code_for_a_newcomer(server.port) is not grpc.StatusCode.UNAVAILABLE:
                await asyncio.sleep(0.01)
        assert not stopping.done()
        Books.finish.set()
        assert await sale == SellBookResponse()
        await asyncio.wait_for(stopping, 60)


async def _code_for_a_newcomer(port: int) -> grpc.StatusCode:
    async with raw_channel(port) as channel:
        stub: BooksServiceAsyncStub = BooksServiceStub(channel)
        try:
            # gRPC may leave a call unanswered that comes while it closes its port.
            await stub.GetBook(GetBookRequest(), timeout=5)
        except grpc.aio.AioRpcError as refusal:
            return refusal.code()
        return grpc.StatusCode.OK


async def _sell(stub: BooksServiceAsyncStub) -> SellBookResponse:
    return await stub.SellBook(SellBookRequest())


async def test_a_watch_of_its_health_does_not_delay_a_stop(rpc: Servers) -> None:
    server = await rpc.start(Books)
    async with raw_channel(server.port) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == NOT_SERVING
        await server.set_serving(True)
        assert (await watch.read()).status == SERVING
        await asyncio.wait_for(server.stop(600), 60)


async def test_bytes_that_cannot_be_parsed_are_an_invalid_argument_and_counted(
    rpc: Servers,
) -> None:
    server = await rpc.start(Books)
    before = handled("GetBook", "INVALID_ARGUMENT")
    async with raw_channel(server.port) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/bookstore.v1.BooksService/GetBook"
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"\xff")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "the request is not a valid bookstore.v1.GetBookRequest"
    await counted(lambda: handled("GetBook", "INVALID_ARGUMENT") - before == 1)


@pytest.mark.parametrize("asked", [True, False])
async def test_a_setting_logs_a_line_for_each_call_by_its_code(rpc: Servers, asked: bool) -> None:
    server = await rpc.start(Books, settings=ServiceSettings(grpc_port=0, log_rpcs=asked))
    stub = await rpc.stub(server.port)
    called = "bookstore.v1.BooksService/GetBook"
    expected = [(called, "OK"), (called, "NOT_FOUND")] if asked else []
    with capture_logs() as logs:

        def ended() -> list[tuple[str, str]]:
            return [(line["method"], line["code"]) for line in logs if line["event"] == "RPC ended"]

        await stub.GetBook(GetBookRequest())
        with pytest.raises(NotFound):
            await stub.GetBook(GetBookRequest(book_id="b-1"))
        await counted(lambda: len(ended()) == len(expected))
    assert ended() == expected
