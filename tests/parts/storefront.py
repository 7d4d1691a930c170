"""A running platform as its users see it: products, orders, event streams, metrics."""

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

__all__ = ["Sent", "Storefront", "eventually", "read_events", "samples", "standing_still"]

SECONDS = 60.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sent:
    """A server-sent event as it came."""

    id: str
    event: str
    data: str

    @property
    def cloudevent(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.data)
        return content


class Storefront:
    """The gateway of a platform, with products and customers that nobody else has."""

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
        """Load a new product; returns its sku."""
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
        """An order of one line."""
        return {"customer_id": self.customer, "lines": [{"sku": sku, "quantity": quantity}]}

    async def order(
        self, sku: str, quantity: int = 1, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """POST /orders with one line."""
        return await self.rest.post("/orders", json=self.body(sku, quantity), headers=headers)

    async def placed(self, sku: str, quantity: int = 1) -> str:
        """Place an order that is taken; returns its id."""
        answer = await self.order(sku, quantity)
        assert answer.status_code == 202, answer.text
        order_id: str = answer.json()["order_id"]
        return order_id

    async def reserved(self, sku: str, quantity: int = 1) -> str:
        """Place an order; returns its id once its record holds that its stock is reserved.

        While payments stands still the record stays so. Otherwise what payments says may come
        before what inventory said, and the record of a confirmed order is one event shorter.
        """
        order_id = await self.placed(sku, quantity)
        async with open_channel(self.platform.of("orders")[0].grpc_address) as channel:
            stub: OrdersServiceAsyncStub = OrdersServiceStub(channel)
            request = ListOrderEventsRequest(order_id=order_id)

            async def look() -> bool:
                return len((await stub.ListOrderEvents(request, timeout=SECONDS)).events) >= 2

            await eventually(look, f"the stock of order {order_id} is reserved")
        return order_id

    async def reserved_then_paid(self, sku: str, orders: int = 1) -> list[str]:
        """Place orders, each of whose records will hold every step in its order."""
        with standing_still(self.platform.of("payments")[0]):
            return [await self.reserved(sku) for _ in range(orders)]

    async def shown(self, order_id: str) -> dict[str, Any]:
        """GET the order."""
        answer = await self.rest.get(f"/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        order: dict[str, Any] = answer.json()
        return order

    async def ended(self, order_id: str, seconds: float = SECONDS) -> dict[str, Any]:
        """The order, once it is not pending any more."""

        async def look() -> dict[str, Any] | None:
            order = await self.shown(order_id)
            return order if order["status"] != "pending" else None

        return await eventually(look, f"order {order_id} ends", seconds)

    async def stock(self, sku: str) -> int:
        """What can still be reserved of a product."""
        answer = await self.rest.get(f"/products/{sku}")
        assert answer.status_code == 200, answer.text
        stock: int = answer.json()["stock"]
        return stock

    async def stock_comes_to(self, sku: str, pieces: int) -> None:
        """Return once so many can be reserved."""

        async def look() -> bool:
            return await self.stock(sku) == pieces

        await eventually(look, f"{pieces} of {sku} can be reserved")

    @asynccontextmanager
    async def following(
        self, order_id: str, last_event_id: str | None = None
    ) -> AsyncIterator[AsyncIterator[Sent]]:
        """The order's event stream; leaving the block hangs up."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        async with self.rest.stream("GET", f"/orders/{order_id}/events", headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield read_events(answer)

    async def metrics(self, process: ServiceProcess) -> Mapping[tuple[str, ...], float]:
        """Every sample of a replica's /metrics: (name, label=value, …) → value."""
        page = await self.rest.get(f"{process.http_url}/metrics")
        return samples(page.raise_for_status().text)


@contextmanager
def standing_still(process: ServiceProcess) -> Iterator[None]:
    """Within it, a replica is stopped by SIGSTOP: what waits for it stays pending."""
    process.pause()
    try:
        yield
    finally:
        process.resume()


async def read_events(answer: httpx.Response) -> AsyncIterator[Sent]:
    """Read a stream of server-sent events as browsers do; comments are passed over."""
    fields: dict[str, list[str]] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
            continue
        if "data" in fields:
            yield Sent(
                id="".join(fields.get("id", [])[-1:]),
                event="".join(fields.get("event", [])[-1:]),
                data="\n".join(fields["data"]),
            )
        fields = {}


def samples(page: str) -> dict[tuple[str, ...], float]:
    """A page of metrics: (name, label=value, …) → value."""
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): (
            sample.value
        )
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def eventually(
    look: Callable[[], Awaitable[T | None]],
    what: str,
    seconds: float = SECONDS,
    *,
    every: float = 0.05,
) -> T:
    """What `look` finds, once it finds something that is true; it looks `every` so many seconds."""
    ends_at = time.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < ends_at, f"never: {what}"
        await asyncio.sleep(every)
