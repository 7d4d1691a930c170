"""The client of both shops: it places orders, and sees their ends as events in the stream.

Variants: "in flight" places an order when an earlier one has ended; "per second" places orders at
fixed moments, whatever the shop does.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

import httpx
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from bench.comparison import Figure
from bench.meter import Meter
from bench.saga.variables import KEY
from bench.worker import Check, Work, run

_SECONDS = 240.0
_IN_FLIGHT = 32
_PER_SECOND = 8
_ACCEPTED = 202
_RETRY_SECONDS = 0.05


class Shopper:
    """Places orders and waits for their ends."""

    def __init__(self, work: Work, http: httpx.AsyncClient) -> None:
        self._work = work
        self._http = http
        self._ends: dict[str, asyncio.Future[float]] = {}
        self.accepted: list[float] = []
        """Seconds from a POST to its answer."""
        self.confirmed: list[float] = []
        """Seconds from a POST until the stream has the order's end."""
        self.unconfirmed = 0
        """Number of orders that ended without a confirmation."""

    async def listen(self, client: Client) -> None:
        """Listen to the events that end orders."""
        for subject in self._work.subjects:
            await client.jetstream().subscribe(
                subject,
                cb=self._ended,
                ordered_consumer=True,
                deliver_policy=DeliverPolicy.NEW,
            )

    async def buy_some(self, orders: Sequence[dict[str, Any]]) -> None:
        """Place these orders, and wait until all have ended."""
        if self._work.variant == "in flight":
            waiting = iter(orders)
            await asyncio.gather(*(self._buy_each(waiting) for _ in range(_IN_FLIGHT)))
            return
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number, order in enumerate(orders):
                await asyncio.sleep(began + number / _PER_SECOND - time.perf_counter())
                tasks.create_task(self._buy(order))

    async def _buy_each(self, orders: Any) -> None:
        for order in orders:
            await self._buy(order)

    async def _buy(self, order: dict[str, Any]) -> None:
        began = time.perf_counter()
        while (answer := await self._post(order)) is None:
            await asyncio.sleep(_RETRY_SECONDS)
        if answer.status_code != _ACCEPTED:
            raise RuntimeError(f"an order was answered with {answer.status_code}: {answer.text}")
        self.accepted.append(time.perf_counter() - began)
        ended = await self._end_of(answer.json()["order_id"])
        self.confirmed.append(ended - began)

    async def _post(self, order: dict[str, Any]) -> httpx.Response | None:
        """Send an order; return None if it must be sent again, which its key makes harmless."""
        try:
            answer = await self._send(order)
        except httpx.TransportError:  # Such as of a connection that was closed while it was idle.
            return None
        return None if answer.is_server_error else answer

    async def _send(self, order: dict[str, Any]) -> httpx.Response:
        return await self._http.post(
            f"http://{self._work.address}/orders",
            json={
                "customer_id": order["customer_id"],
                "lines": [
                    {name: line[name] for name in ("sku", "quantity")} for line in order["lines"]
                ],
            },
            headers={"Idempotency-Key": order["order_id"]},
        )

    def _end_of(self, order_id: str) -> asyncio.Future[float]:
        """Return the moment at which an order ends, which may come before its answer."""
        return self._ends.setdefault(order_id, asyncio.get_running_loop().create_future())

    async def _ended(self, message: Msg) -> None:
        order_id = (message.headers or {})[KEY]
        self.end(order_id, confirmed="Confirmed" in message.subject)

    def end(self, order_id: str, *, confirmed: bool) -> None:
        """Note that an order has ended now."""
        end = self._end_of(order_id)
        if not end.done():
            end.set_result(time.perf_counter())
            self.unconfirmed += not confirmed


async def drive(work: Work, meter: Meter) -> Check:
    """Place `count` orders, of which those before `warm` are not measured."""
    orders = work.read_orders()[: work.count]
    client = await nats.connect(work.nats)
    async with asyncio.timeout(_SECONDS), httpx.AsyncClient(trust_env=False, timeout=60) as http:
        warming = Shopper(work, http)
        await warming.listen(client)
        await warming.buy_some(orders[: work.warm])
        shopper = Shopper(work, http)
        await shopper.listen(client)
        meter.mark(work.warm)
        await shopper.buy_some(orders[work.warm :])
        meter.mark(len(orders))
    await client.close()
    return {
        "confirmed": len(shopper.confirmed) - shopper.unconfirmed,
        Figure.ACCEPTED.value: _milliseconds(shopper.accepted, 50),
        Figure.CONFIRMED.value: _milliseconds(shopper.confirmed, 50),
        Figure.CONFIRMED_95.value: _milliseconds(shopper.confirmed, 95),
        Figure.CONFIRMED_99.value: _milliseconds(shopper.confirmed, 99),
    }


def _milliseconds(seconds: Sequence[float], rank: int) -> float:
    return 1000 * statistics.quantiles(seconds, n=100, method="inclusive")[rank - 1]


if __name__ == "__main__":
    run(drive)
