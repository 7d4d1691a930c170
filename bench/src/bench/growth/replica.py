"""A replica of a service, which handles events until SIGTERM.

It prints a line when it knows all other replicas, so that each has its lanes. Variants: with "own
rows" the events of different lanes change different rows; with "shared rows" they do not.
"""

import asyncio
import json
import signal
import sys

import uvloop

from bench.event_node import EventNode
from bench.handlers.accounts import account_of
from bench.handlers.slipway import one_by_one
from bench.worker import Work
from chassis import Transaction
from chassis.events.wire.lanes import LANES, lane_of
from shop.inventory.v1 import StockReserved

__all__ = ["ACCOUNTS_BY_VARIANT"]

_LOOK_SECONDS = 0.05


def _account_in_lane(order_id: str) -> int:
    """Return the number of an account that all orders of its lane have to themselves."""
    return account_of(order_id) // LANES * LANES + lane_of(order_id)


ACCOUNTS_BY_VARIANT = {"own rows": _account_in_lane, "shared rows": account_of}


async def serve(work: Work) -> None:
    """Handle events together with `replicas` - 1 others."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    node = EventNode(
        "inventory",
        work.database,
        work.nats,
        router=one_by_one(_count_nothing, ACCOUNTS_BY_VARIANT[work.variant]),
        publishes=[StockReserved],
        relays=False,
    )
    await node.start(keeps_stream=True)
    members = node.path.members
    assert members is not None
    while len(members.living) < work.around["replicas"]:
        await asyncio.sleep(_LOOK_SECONDS)
    print("ready", flush=True)
    await stopped.wait()
    await node.stop_handling()
    await node.close()


def _count_nothing(_tx: Transaction, _events: int) -> None:
    """Count nothing: the database tells how many events were handled."""


if __name__ == "__main__":
    uvloop.run(serve(Work(**json.loads(sys.argv[1]))))
