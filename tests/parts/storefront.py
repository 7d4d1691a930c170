"""A client of a running platform: products, orders, event streams, metrics."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from uuid import uuid4

import httpx
from prometheus_client.parser import text_string_to_metric_families

from demo.channel import open_channel
from devkit.platform import Platform
from devkit.service_process import ServiceProcess
from shop.inventory.v1 import InventoryServiceAsyncStub, InventoryServiceStub, LoadProductsRequest
from shop.inventory.v1 import Product as ProductMessage
from shop.money.v1 import Money
from shop.orders.v1 import ListOrderEventsRequest, OrdersServiceAsyncStub, OrdersServiceStub

__all__ = ["ReceivedEvent", "Storefront", "eventually", "paused", "read_events", "samples"]

SECONDS = 60.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """A received server-sent event."""

    id: str
    event: str
    data: str

    @property
    def cloudevent(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.data)
        return content


class Storefront:
    """A client of the gateway, with products and a customer that no other test uses."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.customer = f"customer-{uuid4().hex[:12]}"
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.rest = await self._stack.enter_async_context(
            httpx.AsyncClient(
                base_url=self.platform.url("gateway"), timeout=SECONDS, trust_env=False
            )
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def product(self, *, price: int = 250, stock: int = 1000, name: str = "Milk") -> str:
        """Load a new product, and return its sku."""
        sku = f"sku-{uuid4().hex[:12]}"
        message = ProductMessage(
            sku=sku,
            name=name,
            department="GROCERY",
            price=Money(amount=price, currency="USD"),
            stock=stock,
        )
        async with open_channel(self.platform.of("inventory")[0].grpc_address) as channel:
            stub: InventoryServiceAsyncStub = InventoryServiceStub(channel)
            await stub.LoadProducts(LoadProductsRequest(products=[message]), timeout=SECONDS)
        return sku

    def body(self, sku: str, quantity: int = 1) -> dict[str, Any]:
        """Return the body of an order with one line."""
        return {"customer_id": self.customer, "lines": [{"sku": sku, "quantity": quantity}]}

    async def order(
        self, sku: str, quantity: int = 1, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send POST /orders with one line."""
        return await self.rest.post("/orders", json=self.body(sku, quantity), headers=headers)

    async def place(self, sku: str, quantity: int = 1) -> str:
        """Place an order that must be accepted, and return its id."""
        answer = await self.order(sku, quantity)
        assert answer.status_code == 202, answer.text
        order_id: str = answer.json()["order_id"]
        return order_id

    async def place_reserved(self, sku: str, quantity: int = 1) -> str:
        """Place an order, and return its id when its history has the event of its reservation.

        The history stays like this while payments is paused. Otherwise the event of payments may
        be handled before that of inventory, and the history of the confirmed order is one event
        shorter.
        """
        order_id = await self.place(sku, quantity)
        async with open_channel(self.platform.of("orders")[0].grpc_address) as channel:
            stub: OrdersServiceAsyncStub = OrdersServiceStub(channel)
            request = ListOrderEventsRequest(order_id=order_id)

            async def is_reserved() -> bool:
                return len((await stub.ListOrderEvents(request, timeout=SECONDS)).events) >= 2

            await eventually(is_reserved, f"the stock of order {order_id} is reserved")
        return order_id

    async def place_paid(self, sku: str, orders: int = 1) -> list[str]:
        """Place orders whose histories will have every event in the usual order."""
        with paused(self.platform.of("payments")[0]):
            return [await self.place_reserved(sku) for _ in range(orders)]

    async def get_order(self, order_id: str) -> dict[str, Any]:
        """Return the order by GET /orders/{order_id}."""
        answer = await self.rest.get(f"/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        order: dict[str, Any] = answer.json()
        return order

    async def wait_ended(self, order_id: str, seconds: float = SECONDS) -> dict[str, Any]:
        """Wait until the order is not pending, and return it."""

        async def ended_order() -> dict[str, Any] | None:
            order = await self.get_order(order_id)
            return order if order["status"] != "pending" else None

        return await eventually(ended_order, f"order {order_id} ends", seconds)

    async def stock(self, sku: str) -> int:
        """Return the pieces on hand of a product."""
        answer = await self.rest.get(f"/products/{sku}")
        assert answer.status_code == 200, answer.text
        stock: int = answer.json()["stock"]
        return stock

    async def wait_for_stock(self, sku: str, pieces: int) -> None:
        """Wait until a product has this number of pieces on hand."""

        async def has_pieces() -> bool:
            return await self.stock(sku) == pieces

        await eventually(has_pieces, f"{pieces} of {sku} are on hand")

    @asynccontextmanager
    async def follow(
        self, order_id: str, last_event_id: str | None = None
    ) -> AsyncIterator[AsyncIterator[ReceivedEvent]]:
        """Open the order's event stream; leaving the block closes the connection."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        async with self.rest.stream("GET", f"/orders/{order_id}/events", headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield read_events(answer)

    async def metrics(self, process: ServiceProcess) -> Mapping[tuple[str, ...], float]:
        """Return the samples of a replica's /metrics: (name, label=value, …) → value."""
        page = await self.rest.get(f"{process.http_url}/metrics")
        return samples(page.raise_for_status().text)


@contextmanager
def paused(process: ServiceProcess) -> Iterator[None]:
    """Pause a process by SIGSTOP, so that what waits for it stays pending."""
    process.pause()
    try:
        yield
    finally:
        process.resume()


async def read_events(answer: httpx.Response) -> AsyncIterator[ReceivedEvent]:
    """Yield the events of a stream of server-sent events as browsers do; comments are skipped."""
    fields: dict[str, list[str]] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
            continue
        if "data" in fields:
            yield ReceivedEvent(
                id="".join(fields.get("id", [])[-1:]),
                event="".join(fields.get("event", [])[-1:]),
                data="\n".join(fields["data"]),
            )
        fields = {}


def samples(page: str) -> dict[tuple[str, ...], float]:
    """Parse a page of metrics: (name, label=value, …) → value."""
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): (
            sample.value
        )
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def eventually(
    read: Callable[[], Awaitable[T | None]],
    expectation: str,
    seconds: float = SECONDS,
    *,
    every: float = 0.05,
) -> T:
    """Return the first true result of `read`, which is called every `every` seconds.

    Fail with the name of the expectation after `seconds`.
    """
    ends_at = time.monotonic() + seconds
    while True:
        result = await read()
        if result:
            return result
        assert time.monotonic() < ends_at, f"not within {seconds:g} s: {expectation}"
        await asyncio.sleep(every)
