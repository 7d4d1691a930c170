"""Customers who place one order after the other, and what became of each request."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import httpx
from storefront import Storefront, eventually

__all__ = ["Load", "ordering"]


@dataclass(slots=True)
class Load:
    """What was answered so far."""

    taken: list[str] = field(default_factory=list)
    """The order id of every 202."""
    refused: list[str] = field(default_factory=list)
    """Connections that were not accepted: nothing was sent."""
    cut: list[str] = field(default_factory=list)
    """Requests that were sent and not answered."""
    failed: list[str] = field(default_factory=list)
    """Answers other than 202."""

    async def takes(self, orders: int) -> None:
        """Return once so many more have been taken."""
        wanted = len(self.taken) + orders

        async def enough() -> bool:
            return len(self.taken) >= wanted

        await eventually(enough, f"{orders} more orders are taken")


@asynccontextmanager
async def ordering(
    shop: Storefront, sku: str, urls: Sequence[str], customers: int = 4
) -> AsyncIterator[Load]:
    """Within it, so many customers order at these gateways in turn, on a new connection each time.

    A customer whom a gateway does not let in goes to the next one with the same order, as behind
    a load balancer. Leaving the block waits for the requests that run.
    """
    load, stop, turn = Load(), asyncio.Event(), count()

    async def one_after_the_other() -> None:
        while not stop.is_set():
            await _order(shop, sku, urls, load, next(turn))
            await asyncio.sleep(0.15)

    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:
        shop_client, shop.rest = shop.rest, client
        try:
            running = [asyncio.create_task(one_after_the_other()) for _ in range(customers)]
            yield load
        finally:
            stop.set()
            await asyncio.gather(*running)
            shop.rest = shop_client


async def _order(shop: Storefront, sku: str, urls: Sequence[str], load: Load, turn: int) -> None:
    headers = {"Idempotency-Key": f"{shop.customer}-{sku}-{turn}"}
    for place in range(turn, turn + 100):
        url = urls[place % len(urls)]
        try:
            answer = await shop.rest.post(f"{url}/orders", json=shop.body(sku), headers=headers)
        except httpx.ConnectError:
            load.refused.append(url)
        except httpx.TransportError as error:
            load.cut.append(f"{url}: {error!r}")
        else:
            if answer.status_code == 202:
                load.taken.append(answer.json()["order_id"])
                return
            load.failed.append(f"{url}: {answer.status_code} {answer.text}")
        # Another try with the same key is the same order.
        await asyncio.sleep(0.05)
