"""Customers who place one order after the other, and the results of their requests."""

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
    """The results of all requests."""

    accepted: list[str] = field(default_factory=list)
    """Order ids of the answers 202."""
    refused: list[str] = field(default_factory=list)
    """URLs of refused connections, on which nothing was sent."""
    broken: list[str] = field(default_factory=list)
    """Requests without an answer because their connection broke."""
    failed: list[str] = field(default_factory=list)
    """Answers other than 202."""

    async def wait_accepted(self, orders: int) -> None:
        """Return when this number of further orders has been accepted."""
        total = len(self.accepted) + orders

        async def enough() -> bool:
            return len(self.accepted) >= total

        await eventually(enough, f"{orders} more orders are accepted")


@asynccontextmanager
async def ordering(
    shop: Storefront, sku: str, urls: Sequence[str], customers: int = 4
) -> AsyncIterator[Load]:
    """Let customers place orders at the gateways in turn, each on a new connection.

    A customer whose connection is refused sends the same order to the next gateway, as behind a
    load balancer. Leaving the block waits for the requests in flight.
    """
    load, stop, turn = Load(), asyncio.Event(), count()

    async def order_repeatedly() -> None:
        while not stop.is_set():
            await _place_order(shop, sku, urls, load, next(turn))
            await asyncio.sleep(0.15)

    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:
        shop_client, shop.rest = shop.rest, client
        try:
            running = [asyncio.create_task(order_repeatedly()) for _ in range(customers)]
            yield load
        finally:
            stop.set()
            await asyncio.gather(*running)
            shop.rest = shop_client


async def _place_order(
    shop: Storefront, sku: str, urls: Sequence[str], load: Load, turn: int
) -> None:
    headers = {"Idempotency-Key": f"{shop.customer}-{sku}-{turn}"}
    for index in range(turn, turn + 100):
        url = urls[index % len(urls)]
        try:
            answer = await shop.rest.post(f"{url}/orders", json=shop.body(sku), headers=headers)
        except httpx.ConnectError:
            load.refused.append(url)
        except httpx.TransportError as error:
            load.broken.append(f"{url}: {error!r}")
        else:
            if answer.status_code == 202:
                load.accepted.append(answer.json()["order_id"])
                return
            load.failed.append(f"{url}: {answer.status_code} {answer.text}")
        # The next try has the same key, so it is the same order.
        await asyncio.sleep(0.05)
