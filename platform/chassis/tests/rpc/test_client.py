"""Calls of another service: deadlines, retries, balance, reconnection, errors."""

import asyncio
import socket
from collections.abc import Iterator
from typing import NoReturn

import grpc
import grpc.aio
import pytest
from books_rpc import Clock, Context, Front, Servers, bare_server, raw_channel

from bookstore.v1 import (
    Book,
    BooksService,
    BooksServiceAsyncStub,
    BooksServiceStub,
    GetBookRequest,
    GetBookResponse,
    SellBookRequest,
)
from chassis import (
    AlreadyExists,
    DeadlineExceeded,
    DomainError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ServiceSettings,
    Unavailable,
    deadline,
)
from chassis.rpc import Clients
from chassis.rpc.client import target_name
from chassis.telemetry import trace_context
from slipway.v1 import LedgerService

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def seconds_given(stub: BooksServiceAsyncStub) -> float:
    return float((await stub.GetBook(GetBookRequest())).book.title)


async def test_a_call_without_a_deadline_gets_the_default(rpc: Servers) -> None:
    server = await rpc.start(Clock)
    stub = await rpc.stub(server.port, call_timeout_seconds=3000)
    assert 2000 < await seconds_given(stub) < 4000


async def test_a_call_within_a_call_gets_at_most_the_remaining_time(rpc: Servers) -> None:
    behind = await rpc.clients((await rpc.start(Clock)).port, call_timeout_seconds=3000)
    front = await rpc.start(Front, stub_of=behind.stub)
    async with raw_channel(front.port) as channel:
        stub: BooksServiceAsyncStub = BooksServiceStub(channel)
        answer = await stub.GetBook(GetBookRequest(), timeout=1000)
    # gRPC rounds the remaining time up, to a hundredth and more.
    assert float(answer.book.title) < 1500


async def test_no_call_is_made_when_no_time_is_left(rpc: Servers) -> None:
    # No server listens on port 1.
    clients = await rpc.clients(1)
    stub: BooksServiceAsyncStub = clients.stub(BooksService, BooksServiceStub)  # type: ignore[assignment]
    deadline.begin(-1)
    with pytest.raises(DeadlineExceeded, match="no time was left to call bookstore"):
        await stub.GetBook(GetBookRequest())


async def test_a_late_answer_is_an_error_that_names_the_service(rpc: Servers) -> None:
    stub = await rpc.stub((await rpc.start(Clock)).port, call_timeout_seconds=0.2)
    with pytest.raises(DeadlineExceeded, match=r"^bookstore did not answer in time$"):
        await stub.SellBook(SellBookRequest())


async def test_an_unreachable_service_is_an_error_without_its_address(
    rpc: Servers,
) -> None:
    server = await rpc.start(Clock)
    await server.stop(0)
    stub = await rpc.stub(server.port)
    with pytest.raises(Unavailable, match=r"^bookstore is unavailable$"):
        await stub.GetBook(GetBookRequest())


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("not a price", field="lines.0.price"),
        NotFound("no such book", field="book_id"),
        AlreadyExists("is there"),
        FailedPrecondition("was sold"),
        PermissionDenied("not yours"),
        Unavailable("stock-taking", retry_after=7),
        DeadlineExceeded("the printer is slow", retry_after=2),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_domain_error_arrives_as_it_was_raised(rpc: Servers, error: DomainError) -> None:
    class Refusing(Clock):
        async def get_book(self, request: GetBookRequest) -> GetBookResponse:
            raise error

    stub = await rpc.stub((await rpc.start(Refusing)).port)
    with pytest.raises(DomainError) as refusal:
        await stub.GetBook(GetBookRequest())
    assert type(refusal.value) is type(error)
    assert vars(refusal.value) == vars(error)


async def test_a_long_detail_is_shortened(rpc: Servers) -> None:
    class Quoting(Clock):
        async def get_book(self, request: GetBookRequest) -> GetBookResponse:
            raise InvalidArgument("€" * 100_000, field="x" * 100_000)

    stub = await rpc.stub((await rpc.start(Quoting)).port)
    with pytest.raises(InvalidArgument) as refusal:
        await stub.GetBook(GetBookRequest())
    assert refusal.value.detail.startswith("€€€")
    assert refusal.value.detail.endswith("…")
    assert refusal.value.field is not None
    assert refusal.value.field.startswith("xxx")


async def test_an_internal_error_is_not_a_domain_error(rpc: Servers) -> None:
    class Broken(Clock):
        async def get_book(self, request: GetBookRequest) -> GetBookResponse:
            raise RuntimeError

    stub = await rpc.stub((await rpc.start(Broken)).port)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.GetBook(GetBookRequest())


class Flaky:
    """A bookstore that answers its first calls with a code, as a proxy in front of it may."""

    def __init__(self, failures: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self.calls = 0
        self.failures = failures
        self.code = code

    async def get_book(self, request: GetBookRequest, context: Context) -> GetBookResponse:
        self.calls += 1
        if self.calls <= self.failures:
            await context.abort(self.code)
        return GetBookResponse()


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
async def test_a_call_that_did_not_reach_a_method_is_retried(
    rpc: Servers, code: grpc.StatusCode
) -> None:
    flaky = Flaky(2, code)
    async with bare_server(flaky.get_book) as port:
        await (await rpc.stub(port)).GetBook(GetBookRequest())
    assert flaky.calls == 3


async def test_no_call_fails_when_one_of_two_replicas_stops(rpc: Servers) -> None:
    """gRPC cancels calls that reach a server while it stops, before its methods are called."""

    class Quick(Clock):
        async def get_book(self, request: GetBookRequest) -> GetBookResponse:
            return GetBookResponse()

    staying = await rpc.start(Quick)
    for _ in range(8):
        leaving = await rpc.start(Quick)
        stub = await rpc.stub(leaving.port, staying.port)
        stopped = asyncio.Event()

        async def call_on(stub: BooksServiceAsyncStub, stopped: asyncio.Event) -> None:
            while not stopped.is_set():
                await stub.GetBook(GetBookRequest())

        async with asyncio.TaskGroup() as callers:
            for _ in range(8):
                callers.create_task(call_on(stub, stopped))
            await asyncio.sleep(0.1)
            await leaving.drain()
            await leaving.stop(60)
            stopped.set()


async def test_a_call_that_a_stopping_server_keeps_is_retried_on_another(
    rpc: Servers,
) -> None:
    """Under load this happens once in hundreds of stops; the call used to wait for its deadline."""
    arrived = asyncio.Event()

    class Kept(grpc.aio.ServerInterceptor):
        async def intercept_service(self, *_: object) -> NoReturn:
            arrived.set()
            await asyncio.Event().wait()
            raise AssertionError

    staying = await rpc.start(Clock)
    leaving = await rpc.start(Clock, interceptors=[Kept()])
    stub = await rpc.stub(leaving.port, staying.port, call_timeout_seconds=3000)
    calls: list[asyncio.Task[float]] = []
    async with asyncio.timeout(60):
        # Until the client is connected to both servers, all calls may go to the one that stays.
        while not arrived.is_set():
            calls.append(asyncio.create_task(seconds_given(stub)))
            await asyncio.sleep(0.01)
        await leaving.stop(3000)
        await asyncio.gather(*calls)


async def test_retries_are_limited_and_share_a_budget(rpc: Servers) -> None:
    flaky = Flaky(failures=10_000)
    async with bare_server(flaky.get_book) as port:
        stub = await rpc.stub(port)
        with pytest.raises(Unavailable):
            await stub.GetBook(GetBookRequest())
        assert flaky.calls == 4
        await asyncio.gather(
            *(stub.GetBook(GetBookRequest()) for _ in range(60)), return_exceptions=True
        )
        spent = flaky.calls
        await asyncio.gather(
            *(stub.GetBook(GetBookRequest()) for _ in range(60)), return_exceptions=True
        )
        assert flaky.calls - spent == 60, "with the budget spent a call is made once"


async def test_a_call_that_was_answered_is_not_retried(rpc: Servers) -> None:
    asked = []

    class Closed(Clock):
        async def get_book(self, request: GetBookRequest) -> GetBookResponse:
            asked.append(request)
            raise Unavailable("closed")

    stub = await rpc.stub((await rpc.start(Closed)).port)
    with pytest.raises(Unavailable, match="closed"):
        await stub.GetBook(GetBookRequest())
    assert len(asked) == 1


async def test_calls_are_balanced_over_the_replicas(rpc: Servers) -> None:
    def replica(name: str) -> type:
        class Replica(Clock):
            async def get_book(self, request: GetBookRequest) -> GetBookResponse:
                return GetBookResponse(book=Book(title=name))

        return Replica

    names = ("one", "two", "three")
    ports = [(await rpc.start(replica(name))).port for name in names]
    stub = await rpc.stub(*ports)

    async def answering() -> str:
        return (await stub.GetBook(GetBookRequest())).book.title

    seen: set[str] = set()
    async with asyncio.timeout(60):
        # The client connects to one server after another.
        while seen != set(names):
            seen.add(await answering())
    answers = [await answering() for _ in range(30)]
    assert {name: answers.count(name) for name in names} == dict.fromkeys(names, 10)


async def test_an_unavailable_server_is_reconnected_within_a_second(
    rpc: Servers,
) -> None:
    server = await rpc.start(Clock)
    stub = await rpc.stub(server.port)
    await stub.GetBook(GetBookRequest())
    await server.stop(0)
    tries = 0
    enough = asyncio.Event()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        if tries == 10:
            enough.set()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", server.port):
        # gRPC's default back-off would take two minutes for 10 attempts.
        await asyncio.wait_for(enough.wait(), 60)
    await rpc.start(Clock, port=server.port)
    async with asyncio.timeout(60):
        while not await is_answered(stub):
            await asyncio.sleep(0.05)


async def is_answered(stub: BooksServiceAsyncStub) -> bool:
    try:
        await stub.GetBook(GetBookRequest())
    except Unavailable:
        return False
    return True


async def test_a_trace_is_passed_on_even_if_no_spans_are_recorded(rpc: Servers) -> None:
    class Traced(Clock):
        async def get_book(self, request: GetBookRequest) -> GetBookResponse:
            return GetBookResponse(
                book=Book(title=" ".join(map(str, trace_context.current_trace())))
            )

    stub = await rpc.stub((await rpc.start(Traced)).port)
    with trace_context.attached(TRACEPARENT, "vendor=1"):
        inside = await stub.GetBook(GetBookRequest())
    outside = await stub.GetBook(GetBookRequest())
    assert inside.book.title == f"{TRACEPARENT} vendor=1"
    assert outside.book.title == "None None"


async def test_a_stub_of_an_undeclared_contract_is_refused(rpc: Servers) -> None:
    clients = await rpc.clients(1)
    with pytest.raises(LookupError, match=r"slipway\.v1\.LedgerService.*calls="):
        clients.stub(LedgerService, BooksServiceStub)


async def test_one_channel_serves_all_stubs_of_a_service() -> None:
    clients = Clients("gateway", [BooksService], ServiceSettings(targets={"bookstore": "ipv4:1"}))
    first = clients.stub(BooksService, BooksServiceStub)
    assert clients.stub(BooksService, BooksServiceStub) is first
    await clients.close()


def test_a_target_is_named_for_the_service_that_serves_the_contract() -> None:
    assert target_name(BooksService) == "bookstore"
    assert target_name(LedgerService) == "slipway"


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The listening socket of a proxy that the environment names."""
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        yield proxy


@pytest.mark.parametrize("servers", [1, 2])
async def test_a_proxy_in_the_environment_is_not_used_between_services(
    rpc: Servers, proxied: socket.socket, servers: int
) -> None:
    ports = [(await rpc.start(Clock)).port for _ in range(servers)]
    stub = await rpc.stub(*ports, call_timeout_seconds=60)
    for _ in range(4):
        assert await seconds_given(stub) > 0


async def test_a_proxy_is_used_if_the_setting_says_so(proxied: socket.socket) -> None:
    settings = ServiceSettings(targets={"bookstore": "books:9090"}, proxy_from_environment=True)
    clients = Clients("gateway", [BooksService], settings)
    stub: BooksServiceAsyncStub = clients.stub(BooksService, BooksServiceStub)  # type: ignore[assignment]
    call = asyncio.ensure_future(stub.GetBook(GetBookRequest()))
    proxied.setblocking(False)
    connection, _ = await asyncio.get_running_loop().sock_accept(proxied)
    connection.setblocking(False)
    asked = await asyncio.get_running_loop().sock_recv(connection, 1000)
    connection.close()
    call.cancel()
    await clients.close()
    assert asked.startswith(b"CONNECT books:9090 ")
