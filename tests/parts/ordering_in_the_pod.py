"""Customers in the demo's pod, who order until they are told to stop.

python ordering_in_the_pod.py service=address…

The program reads commands from standard input, one per line, and answers each with a line of JSON.
`order N`: the customers start, with N baskets a second. `rest`: they stop; when all orders have
ended, the laws are checked over everything since the start. `look`: the answers until now. It ends
with its input.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx

from demo.catalog import Catalog, Selection, from_sample
from demo.data import Basket
from demo.laws import check
from demo.ledgers import read_ledgers
from demo.record import Record
from demo.remote_platform import RemotePlatform, find_platform
from demo.replay import replay
from demo.seed import load_products
from demo.settle import NotEnded, wait_ended

_CUSTOMERS = 8
# The sample of 5,000 baskets is ordered 20 times, which takes hours.
_ROUNDS = 20


class Ordering:
    """The customers, and what all of them were answered."""

    def __init__(self, platform: RemotePlatform) -> None:
        self._platform = platform
        self._selection = _repeated(from_sample(5000), _ROUNDS)
        self._baskets = self._selection.baskets()
        self._stopped = True
        self._replay: asyncio.Task[Record] | None = None
        self._now = Record()
        self._before = Record()

    async def load(self) -> None:
        """Fill the shelves, and come when the way in is open."""
        inventory = self._platform.of("inventory")[0]
        await load_products(inventory.grpc_address, self._selection.catalog, inventory.authority)
        async with httpx.AsyncClient(trust_env=False) as client:
            open_ = False
            while not open_:
                with suppress(httpx.TransportError):
                    answer = await client.get(f"{self._platform.gateways[0]}/products?limit=1")
                    open_ = answer.status_code == 200
                await asyncio.sleep(0.1)

    async def order(self, per_second: float) -> dict[str, Any]:
        self._stopped = False
        self._replay = asyncio.create_task(
            replay(
                self._platform.gateways,
                self._until_stopped(),
                in_flight=_CUSTOMERS,
                on_progress=self._see,
                patience=180,
                per_second=per_second,
            )
        )
        return await self.look()

    def _until_stopped(self) -> Iterator[Basket]:
        for basket in self._baskets:
            yield basket
            if self._stopped:
                return

    def _see(self, record: Record) -> None:
        self._now = record

    async def rest(self) -> dict[str, Any]:
        self._stopped = True
        if self._replay is not None:
            self._before = _together(self._before, await self._replay)
            self._now, self._replay = Record(), None
        open_: list[str] = []
        try:
            await wait_ended(self._platform, patience=150)
        except NotEnded as error:
            open_ = str(error).splitlines()
        ledgers = await read_ledgers(self._platform)
        laws = check(self._before, ledgers, self._selection.catalog)
        broken = {law.name: law.broken[:5] for law in laws if not law.holds}
        return {**await self.look(), "laws": len(laws), "broken": broken, "open": open_}

    async def look(self) -> dict[str, Any]:
        await asyncio.sleep(0.1)
        record = _together(self._before, self._now)
        return {
            "placed": len(record.placed),
            "refused": [f"{refusal.status} {refusal.detail}" for refusal in record.refused],
            "sent_again": dict(record.sent_again),
            "ordering": self._replay is not None and not self._replay.done(),
        }


def _repeated(sample: Selection, rounds: int) -> Selection:
    """Return the baskets of a sample `rounds` times, and the stock for all of them."""

    def baskets() -> Iterator[Basket]:
        for number in range(rounds):
            for basket in sample.baskets():
                yield replace(basket, basket_id=f"{basket.basket_id}-{number}")

    stock = {sku: rounds * pieces for sku, pieces in sample.catalog.stock.items()}
    return Selection(Catalog(sample.catalog.products, stock), rounds * sample.count, baskets)


def _together(one: Record, other: Record) -> Record:
    return Record(
        sent=one.sent + other.sent,
        placed=one.placed + other.placed,
        refused=one.refused + other.refused,
        sent_again=Counter(one.sent_again) + Counter(other.sent_again),
    )


async def main(at: list[str]) -> None:
    """Do what is read until there is no more."""
    ordering = Ordering(find_platform(at))
    await ordering.load()
    print(json.dumps(await ordering.look()), flush=True)
    while words := (await asyncio.to_thread(sys.stdin.readline)).split():
        try:
            match words:
                case ["order", per_second]:
                    answer = await ordering.order(float(per_second))
                case ["rest"]:
                    answer = await ordering.rest()
                case _:
                    answer = await ordering.look()
        except Exception as error:
            answer = {"stopped": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1:]))
