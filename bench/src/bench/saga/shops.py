"""The shops: the platform as `slipway run` starts it, the one on FastStream, one by hand."""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import nats
from nats.js.api import StorageType, StreamConfig

from bench.meter import OWN
from bench.orders import sku_of
from bench.saga.variables import DATABASE, NATS, PRODUCTS, STREAM, subject_of
from bench.server_process import ServerProcess, serving
from bench.services.platform_run import running
from bench.stage import DatabaseKind, Peers, Stage
from demo.catalog import Catalog, from_sample
from demo.seed import SAMPLE_BASKETS, load_products
from localservers import NatsServer, PostgresServer, free_port

__all__ = ["Shop", "faststream_shop", "platform", "shop_by_hand"]

_ENDS = ("OrderConfirmed", "OrderCancelled")
_STOCK = 1_000_000
_SERVICES = ("orders", "inventory", "payments", "notifications")


@dataclass(frozen=True)
class Shop:
    """A shop that runs."""

    address: str
    """Host and port of its REST API."""
    nats: str
    ends: list[str]
    """The subjects of the events that end orders."""
    services: Mapping[str, int]
    """Ids of its services' processes, or of the process that started them all."""
    servers: Mapping[str, int]
    """Ids of the broker and of the database's server."""
    starts_servers: bool
    """Whether the process of `services` has started the servers, too."""

    def by_part(self, cpu: Mapping[str, float]) -> dict[str, float]:
        """Return CPU seconds by process with those of all services as one."""
        servers = {name: cpu[name] for name in self.servers}
        services = sum(cpu[name] for name in self.services)
        return {OWN: services - self.starts_servers * sum(servers.values()), **servers}


def platform(stage: Stage, kind: DatabaseKind) -> Callable[[ExitStack], Shop]:
    """Return a function that starts the platform with five services on this kind of database."""

    def start(exits: ExitStack) -> Shop:
        state = exits.enter_context(running(stage, kind)).state
        http = next(s.http_port for s in state.services if s.service == "gateway")
        grpc = next(s.grpc_port for s in state.services if s.service == "inventory")
        asyncio.run(load_products(f"127.0.0.1:{grpc}", _catalog()))
        return Shop(
            address=f"127.0.0.1:{http}",
            nats=next(server.url for server in state.servers if server.name == "nats"),
            ends=[f"shop.orders.v1.{type}.*" for type in _ENDS],
            services={"runner": state.runner_pid},
            servers={server.name: server.pid for server in state.servers},
            starts_servers=True,
        )

    return start


def faststream_shop(stage: Stage, kind: DatabaseKind) -> Callable[[ExitStack], Shop]:
    """Return a function that starts the shop on FastStream: four services and the broker."""
    return _four_services("faststream_shop", stage, kind, asynchronous=True)


def shop_by_hand(stage: Stage, kind: DatabaseKind) -> Callable[[ExitStack], Shop]:
    """Return a function that starts the shop by hand: four services and the broker."""
    return _four_services("shop_by_hand", stage, kind, asynchronous=False)


def _four_services(
    package: str, stage: Stage, kind: DatabaseKind, *, asynchronous: bool
) -> Callable[[ExitStack], Shop]:
    """Return a function that starts the services of a package, with this kind of driver."""

    def start(exits: ExitStack) -> Shop:
        # The shops have the same subjects, so that each needs a broker of its own.
        broker = exits.enter_context(NatsServer(stage.folder / f"{package}-nats"))
        asyncio.run(_make_stream(broker.url))
        products = _write_products(stage.folder / "products.jsonl")
        servers = {"nats": broker.pid}
        make_database = partial(stage.database, "sqlite", asynchronous=asynchronous)
        if kind == "postgres":
            # `slipway run` has such a server, too: it does not sync commits to the disk.
            server = exits.enter_context(PostgresServer(stage.folder / f"{package}-postgres"))
            servers["postgres"] = server.pid
            make_database = partial(_make_database, server, asynchronous)
        services: dict[str, ServerProcess] = {}
        for name in _SERVICES:
            variables = {
                DATABASE: make_database(),
                NATS: broker.url,
                PRODUCTS: str(products),
            }
            module = f"bench.saga.{package}.{name}"
            services[name] = exits.enter_context(
                serving(module, free_port(), stage.folder, variables, python=Peers.python)
            )
        return Shop(
            address=services["orders"].address,
            nats=broker.url,
            ends=[subject_of(type) for type in _ENDS],
            services={name: service.pid for name, service in services.items()},
            servers=servers,
            starts_servers=False,
        )

    return start


def _make_database(server: PostgresServer, asynchronous: bool) -> str:
    """Return the URL of a new database, for the asynchronous driver or the other one."""
    url = server.create_database(f"shop_{uuid.uuid4().hex[:12]}")
    return url.replace("+psycopg", "+asyncpg") if asynchronous else url


async def _make_stream(url: str) -> None:
    client = await nats.connect(url)
    await client.jetstream().add_stream(
        StreamConfig(name=STREAM, subjects=[subject_of("*")], storage=StorageType.FILE)
    )
    await client.close()


def _catalog() -> Catalog:
    """Return the products of the sample under other skus, with enough stock for all orders."""
    products = [
        replace(product, sku=sku_of(sku))
        for sku, product in from_sample(SAMPLE_BASKETS).catalog.products.items()
    ]
    return Catalog({p.sku: p for p in products}, dict.fromkeys((p.sku for p in products), _STOCK))


def _write_products(file: Path) -> Path:
    """Write the products to a file."""
    catalog = _catalog()
    with file.open("w", encoding="utf-8") as lines:
        for sku, product in catalog.products.items():
            row = {"sku": sku, "price": product.price_cents, "stock": catalog.stock[sku]}
            lines.write(json.dumps(row) + "\n")
    return file
