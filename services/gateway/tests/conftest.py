"""The gateway's REST API in this process, with gRPC servers of a small shop behind it."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from chassis.http.app import create_app
from chassis.readiness import Readiness
from chassis.rpc import Clients
from chassis.rpc.methods import bind
from chassis.rpc.server import RpcServer
from gateway.service import service
from gateway.settings import GatewaySettings
from shop.inventory.v1 import InventoryService
from shop.orders.v1 import OrdersService

sys.path.insert(0, str(Path(__file__).parent / "parts"))

from small_shop import Inventory, Orders, Shop


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest_asyncio.fixture
async def servers(shop: Shop) -> AsyncIterator[dict[str, RpcServer]]:
    """The gRPC servers of orders and inventory, by name."""
    settings = GatewaySettings(grpc_port=0)
    orders = type("Orders", (Orders,), {"shop": shop})
    async with AsyncExitStack() as stack:
        started = {}
        for contract, answering in ((OrdersService, orders), (InventoryService, Inventory)):
            methods = bind(contract, answering, settings)
            server = RpcServer([(contract.full_name, methods)], settings, None)
            await server.start()
            stack.push_async_callback(server.stop, 0)
            started[contract.file.package.split(".")[1]] = server
        yield started


@pytest_asyncio.fixture
async def transport(servers: dict[str, RpcServer]) -> AsyncIterator[httpx.ASGITransport]:
    """The gateway's REST API."""
    settings = GatewaySettings(
        targets={name: f"ipv4:127.0.0.1:{server.port}" for name, server in servers.items()},
        order_events_poll_seconds=0.05,
        call_timeout_seconds=2,
    )
    clients = Clients(service.name, service.calls, settings)
    app = create_app(service.name, service.http, settings, Readiness(), clients)
    yield httpx.ASGITransport(app)
    await clients.close()


@pytest_asyncio.fixture
async def rest(transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway's REST API."""
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client
