"""A gRPC server and those who call it, in this process, on free ports."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio

from bookstore.v1 import (
    BookReturned,
    BookSold,
    BooksService,
    BooksServiceAsyncStub,
    BooksServiceStub,
)
from chassis import ServiceSettings
from chassis.database import Database
from chassis.events.producer.publisher import Publisher
from chassis.rpc import Clients
from chassis.rpc.methods import bind
from chassis.rpc.server import RpcServer

__all__ = ["Servers", "raw_channel", "servers"]


class Servers:
    """Starts servers for plain classes; stops them all at its end."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def start(
        self,
        implementation: type,
        *,
        database: Database | None = None,
        port: int = 0,
        settings: ServiceSettings | None = None,
    ) -> RpcServer:
        settings = settings or ServiceSettings(grpc_port=port)
        methods = bind(BooksService, implementation, settings)
        server = RpcServer([(BooksService.full_name, methods)], settings, database)
        await server.start()
        self._stack.push_async_callback(server.stop, 0)
        return server

    async def clients(self, *ports: int, call_timeout_seconds: float = 60) -> Clients:
        """What a service gets that calls the bookstore at these ports."""
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
        database = Database(url, Publisher("bookstore", (BookSold, BookReturned)), threads=threads)
        self._stack.callback(database.close)
        return database


@asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        yield Servers(stack)


def raw_channel(port: int) -> grpc.aio.Channel:
    """A channel with none of the chassis' care."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}")
