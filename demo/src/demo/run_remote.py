"""The replay on a running platform, which is neither started nor stopped."""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping

from demo.added import added, catalog_before, check_unchanged
from demo.laws import check
from demo.ledgers import read_ledgers
from demo.measurements import EventCount, Memory, read_event_counts
from demo.plan import (
    Outcome,
    Plan,
    place_baskets,
    print_outcome,
    run_until_signal,
    wait_for_orders_to_end,
)
from demo.progress import step
from demo.remote_platform import RemotePlatform
from demo.seed import load_products
from demo.settle import OpenWork, wait_ended
from demo.summary import Timing, summarize

__all__ = ["run_remote"]


def run_remote(
    plan: Plan,
    platform: RemotePlatform,
    read_memory: Callable[[], Mapping[str, Memory]] = dict,
) -> Outcome | None:
    """Replay baskets and check the laws. Return None if a signal ends the run first.

    If the platform has orders already, the laws are checked for what this replay adds, and one more
    law says that earlier orders are unchanged. No other client may place orders meanwhile: the laws
    would report them as orders that were never placed.

    `read_memory` returns the memory of the services; it is called when all orders have ended.

    Raises:
        DevkitError: the platform does not answer, or has work that does not end.
    """
    return asyncio.run(
        run_until_signal(_replay_and_check(platform, plan, read_memory), platform, plan.output)
    )


async def _replay_and_check(
    platform: RemotePlatform, plan: Plan, read_memory: Callable[[], Mapping[str, Memory]]
) -> Outcome:
    """Replay the baskets on a running platform, and check the laws for what was added."""
    output, selection = plan.output, plan.selection
    began = time.perf_counter()
    await _wait_at_rest(platform, plan)
    ready = time.perf_counter() - began
    before = await read_ledgers(platform)
    counts_before = await read_event_counts(platform)
    if before.orders:
        output.print(
            f"the platform has {len(before.orders):,} orders already; the laws are checked for"
            " what the replay adds"
        )
    inventory = platform.of("inventory")[0]
    await load_products(inventory.grpc_address, selection.catalog, inventory.authority)
    began = time.perf_counter()
    record = await place_baskets(plan, platform.gateways, run=f"{secrets.token_hex(4)}-")
    await wait_for_orders_to_end(platform, record, output)
    ending = time.perf_counter() - began
    now = await read_ledgers(platform)
    ledgers = added(now, before)
    summary = summarize(
        record,
        ledgers,
        timing=Timing(ready=ready, placing=record.seconds, ending=ending),
        events=_count_increase(await read_event_counts(platform), counts_before),
        memory=read_memory(),
        restarts={},
    )
    laws = check(
        record,
        ledgers,
        catalog_before(selection.catalog, before),
        dead_letters={service: entry.dead_letters for service, entry in before.events.items()},
    )
    outcome = summary, laws + [check_unchanged(now, before)] * bool(before.orders)
    print_outcome(outcome, output)
    return outcome


async def _wait_at_rest(platform: RemotePlatform, plan: Plan) -> None:
    """Return when the platform answers and no work is open. Raises NotEnded if work stays open."""
    plan.output.print(f"waiting for the platform at {', '.join(platform.gateways)}", markup=False)
    with step(plan.output, "at rest", 1) as rest:

        def show(now: OpenWork) -> None:
            rest(not now.descriptions, "; ".join(now.descriptions))

        await wait_ended(platform, show)


def _count_increase(
    now: Mapping[str, EventCount], before: Mapping[str, EventCount]
) -> dict[str, EventCount]:
    """Return the increase of the counts by type; nothing if a process has restarted meanwhile."""
    counts = {}
    for type, count in now.items():
        earlier = before.get(type, EventCount())
        increase = (
            count.handled - earlier.handled,
            count.seen_again - earlier.seen_again,
            count.failed - earlier.failed,
        )
        if min(increase) < 0:
            return {}
        counts[type] = EventCount(*increase)
    return counts
