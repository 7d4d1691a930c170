"""A gRPC server and those who call it, in this process, on free ports."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

import grpc.aio
from fastapi import Depends

from bookstore.v1 import (
    Book,
    BookReturned,
    BookSold,
    BooksService,
    BooksServiceAsyncStub,
    BooksServiceStub,
    GetBookRequest,
    GetBookResponse,
    SellBookRequest,
    SellBookResponse,
)
from chassis import ServiceSettings, deadline
from chassis.calls import StubOf, no_stub
from chassis.database import Database
from chassis.events.producer.event_factory import EventFactory
from chassis.rpc import Clients, client
from chassis.rpc.methods import bind
from chassis.rpc.server import RpcServer

__all__ = ["Books", "Clock", "Context", "Front", "Servers", "bare_server", "raw_channel", "servers"]

Books = Annotated[BooksServiceAsyncStub, Depends(client(BooksService, BooksServiceStub))]
Context = grpc.aio.ServicerContext[GetBookRequest, GetBookResponse]


class Clock:
    """A bookstore whose GetBook answers with the remaining seconds; SellBook never returns."""

    async def sell_book(self, request: SellBookRequest) -> SellBookResponse:
        await asyncio.sleep(3600)
        raise NotImplementedError

    async def get_book(self, request: GetBookRequest) -> GetBookResponse:
        return GetBookResponse(book=Book(title=str(deadline.remaining())))


class Front:
    """A bookstore that calls another bookstore."""

    async def sell_book(self, request: SellBookRequest) -> SellBookResponse:
        raise NotImplementedError

    async def get_book(self, request: GetBookRequest, books: Books) -> GetBookResponse:
        return await books.GetBook(request)


class Servers:
    """Servers for plain classes, with their clients; all are stopped at the end of the stack."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def start(
        self,
        implementation: type,
        *,
        database: Database | None = None,
        port: int = 0,
        settings: ServiceSettings | None = None,
        stub_of: StubOf = no_stub,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> RpcServer:
        settings = settings or ServiceSettings(grpc_port=port)
        methods = bind(BooksService, implementation, settings, stub_of)
        server = RpcServer([(BooksService.full_name, methods)], settings, database, interceptors)
        await server.start()
        self._stack.push_async_callback(server.stop, 0)
        return server

    async def clients(self, *ports: int, call_timeout_seconds: float = 60) -> Clients:
        """Return the clients of a service that calls the bookstore at these ports."""
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        settings = ServiceSettings(
            targets={"bookstore": target}, call_timeout_seconds=call_timeout_seconds
        )
        clients = Clients("gateway", [BooksService], settings)
        self._stack.push_async_callback(clients.close)
        return clients

    async def stub(self, *ports: int, call_timeout_seconds: float = 60) -> BooksServiceAsyncStub:
        clients = await self.clients(*ports, call_timeout_seconds=call_timeout_seconds)
        return clients.stub(BooksService, BooksServiceStub)  # type: ignore[return-value]

    def database(self, url: str, *, threads: int = 4) -> Database:
        database = Database(
            url, EventFactory("bookstore", (BookSold, BookReturned)), threads=threads
        )
        self._stack.callback(database.close)
        return database


@asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        yield Servers(stack)


@asynccontextmanager
async def bare_server(
    get_book: Callable[[GetBookRequest, Context], Awaitable[GetBookResponse]],
) -> AsyncIterator[int]:
    """Yield the port of a gRPC server without the chassis, which answers GetBook."""
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        get_book,
        request_deserializer=GetBookRequest.FromString,
        response_serializer=GetBookResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(BooksService.full_name, {"GetBook": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def raw_channel(port: int) -> grpc.aio.Channel:
    """Return a channel without the chassis."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}")
