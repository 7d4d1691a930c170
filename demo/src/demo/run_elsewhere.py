"""The replay on a platform that runs already: nothing is started, stopped or deleted."""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping

from demo.elsewhere import Elsewhere
from demo.laws import check
from demo.ledgers import read_ledgers
from demo.measurements import EventCount, Memory, read_event_counts
from demo.plan import Outcome, Plan, place, show, until_signal, wait_for_the_end
from demo.progress import step
from demo.seed import load_products
from demo.settle import Open, wait_ended
from demo.since import added, catalog_before, kept
from demo.summary import Timing, summarize

__all__ = ["run_elsewhere"]


def run_elsewhere(
    plan: Plan,
    platform: Elsewhere,
    read_memory: Callable[[], Mapping[str, Memory]] = dict,
) -> Outcome | None:
    """Replay and check the laws. None if a signal came first.

    The platform may hold orders: the laws then speak of what this replay adds, and one more law
    says that what was there stays. Nobody else may place orders meanwhile, or the laws name them
    as orders that were never placed.

    `read_memory` tells what the services take once all has ended.

    Raises:
        DevkitError: the platform does not come to rest, or does not answer.
    """
    return asyncio.run(until_signal(_run(platform, plan, read_memory), platform, plan.output))


async def _run(
    platform: Elsewhere, plan: Plan, read_memory: Callable[[], Mapping[str, Memory]]
) -> Outcome:
    output, selection = plan.output, plan.selection
    began = time.perf_counter()
    await _wait_at_rest(platform, plan)
    ready = time.perf_counter() - began
    before = await read_ledgers(platform)
    counted = await read_event_counts(platform)
    if before.orders:
        output.print(
            f"this platform holds {len(before.orders):,} orders: the laws are checked for what"
            " the replay adds"
        )
    inventory = platform.of("inventory")[0]
    await load_products(inventory.grpc_address, selection.catalog, inventory.authority)
    began = time.perf_counter()
    record = await place(plan, platform.gateways, run=f"{secrets.token_hex(4)}-")
    await wait_for_the_end(platform, record, output)
    ending = time.perf_counter() - began
    now = await read_ledgers(platform)
    ledgers = added(now, before)
    summary = summarize(
        record,
        ledgers,
        timing=Timing(ready=ready, placing=record.seconds, ending=ending),
        events=_more(await read_event_counts(platform), counted),
        memory=read_memory(),
        restarts={},
    )
    laws = check(
        record,
        ledgers,
        catalog_before(selection.catalog, before),
        dead_letters={service: entry.dead_letters for service, entry in before.events.items()},
    )
    outcome = summary, laws + [kept(now, before)] * bool(before.orders)
    show(outcome, output)
    return outcome


async def _wait_at_rest(platform: Elsewhere, plan: Plan) -> None:
    """Return once it answers and nothing is open. Raises NotEnded if that does not come."""
    plan.output.print(f"waiting for the platform at {', '.join(platform.gateways)}", markup=False)
    with step(plan.output, "at rest", 1) as rest:

        def show(now: Open) -> None:
            rest(not now.what, "; ".join(now.what))

        await wait_ended(platform, show)


def _more(now: Mapping[str, EventCount], before: Mapping[str, EventCount]) -> dict[str, EventCount]:
    """Return the counts since then by type; nothing if a process has restarted meanwhile."""
    counts = {}
    for type, count in now.items():
        was = before.get(type, EventCount())
        more = (
            count.taken - was.taken,
            count.seen_again - was.seen_again,
            count.failed - was.failed,
        )
        if min(more) < 0:
            return {}
        counts[type] = EventCount(*more)
    return counts
