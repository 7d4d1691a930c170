"""The options of a replay, and its steps that are the same on every platform."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.console import Console

from demo.catalog import Selection
from demo.laws import Law
from demo.progress import step
from demo.record import Record
from demo.replay import replay
from demo.replicas import RunningServices
from demo.settle import NotEnded, OpenWork, wait_ended
from demo.summary import Summary, render
from devkit.stop_signals import STOPPING, Killable, stop_requested

__all__ = [
    "Outcome",
    "Plan",
    "place_baskets",
    "print_outcome",
    "run_until_signal",
    "wait_for_orders_to_end",
]

# Orders cancels an order that is pending after APP_ORDER_TIMEOUT_SECONDS, 60 by default. This limit
# is much lower, because the orders that are already placed need time to end, too.
_ENDS_WITHIN_SECONDS = 10.0
_HELD = "waiting for placed orders to end"

T = TypeVar("T")
Outcome = tuple[Summary, list[Law]]


@dataclass(frozen=True)
class Plan:
    """The options of one replay, as given on the command line."""

    selection: Selection
    in_flight: int
    output: Console


async def place_baskets(plan: Plan, gateways: Sequence[str], run: str = "") -> Record:
    """Place every basket; `run` is the prefix of their idempotency keys."""
    count = plan.selection.count
    plan.output.print(
        f"replaying {count:,} Complete Journey baskets, {plan.in_flight} in flight", markup=False
    )
    with step(plan.output, "placed", count) as placed:
        return await replay(
            gateways,
            plan.selection.baskets(),
            plan.in_flight,
            lambda record: placed(
                len(record.placed) + len(record.refused), _HELD if record.held else ""
            ),
            run=run,
            ends_within=_ENDS_WITHIN_SECONDS,
        )


async def wait_for_orders_to_end(
    platform: RunningServices, record: Record, output: Console
) -> None:
    """Wait until no work is open. Work that stays open is printed, and then breaks laws."""
    pending = count = len(record.placed)
    with step(output, "ended", count) as ended:

        def show(now: OpenWork) -> None:
            nonlocal pending
            if now.orders is not None:
                pending = now.orders
            ended(count - pending, "; ".join(now.descriptions))

        try:
            await wait_ended(platform, show)
        except NotEnded as error:
            output.print(str(error), markup=False, style="red")


def print_outcome(outcome: Outcome, output: Console) -> None:
    """Print the figures and the laws."""
    output.print()
    for line in render(*outcome, output.width):
        output.print(line)


async def run_until_signal(
    work: Coroutine[Any, Any, T], platform: Killable, output: Console
) -> T | None:
    """Return the result of `work`, or cancel it and return None if a signal arrives first."""
    stopping = stop_requested(platform)
    run = asyncio.create_task(work)
    wait = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((run, wait), return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            return run.result()
        output.print(STOPPING)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        return None
    finally:
        wait.cancel()
