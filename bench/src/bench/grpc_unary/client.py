"""The client of every server of the comparison: 32 calls at a time over two connections."""

import asyncio
from collections import Counter

import grpc.aio

from bench.grpc_unary.product import SKU
from bench.meter import Meter
from bench.worker import Check, Work, run
from shop.inventory.v1 import GetProductRequest, InventoryServiceStub

_AT_ONCE = 32
# Otherwise both channels share one connection.
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


async def call(work: Work, meter: Meter) -> Check:
    """Call the server `count` times."""
    channels = [grpc.aio.insecure_channel(work.address, options=_OWN_CONNECTION) for _ in range(2)]
    stubs = [InventoryServiceStub(channel) for channel in channels]
    request = GetProductRequest(sku=SKU)
    answers: Counter[str] = Counter()
    called = iter(range(work.count))

    async def some(number: int) -> None:
        stub = stubs[number % 2]
        for done in called:
            if work.warm and done == work.warm:
                meter.mark(done)
            response = await stub.GetProduct(request, wait_for_ready=True)
            answers[str(response)] += 1

    await asyncio.gather(*(some(number) for number in range(_AT_ONCE)))
    meter.mark(work.count)
    for channel in channels:
        await channel.close()
    return {"answers": dict(answers)}


if __name__ == "__main__":
    run(call)
