"""What a replay was asked for, and the steps that are the same wherever the platform runs."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.console import Console

from demo.catalog import Selection
from demo.laws import Law
from demo.progress import step
from demo.replay import Record, replay
from demo.replicas import Running
from demo.settle import NotEnded, Open, wait_ended
from demo.summary import Summary, render
from devkit.stop_signals import STOPPING, Killable, stop_requested

__all__ = ["Outcome", "Plan", "place", "show", "until_signal", "wait_for_the_end"]

# Orders cancels an order that is pending after APP_ORDER_TIMEOUT_SECONDS, 60 by default; what has
# been placed by the time at which the replay holds back needs time to end, too.
_ENDS_WITHIN_SECONDS = 10.0
_HELD = "waits for orders to end before more are placed"

T = TypeVar("T")
Outcome = tuple[Summary, list[Law]]


@dataclass(frozen=True)
class Plan:
    """The options of one replay, as given on the command line."""

    selection: Selection
    in_flight: int
    output: Console


async def place(plan: Plan, gateways: Sequence[str], run: str = "") -> Record:
    """Place every basket; `run` begins their keys."""
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


async def wait_for_the_end(platform: Running, record: Record, output: Console) -> None:
    """Wait until nothing is open. If it stays open that is printed; the laws say what is wrong."""
    pending = count = len(record.placed)
    with step(output, "ended", count) as ended:

        def show(now: Open) -> None:
            nonlocal pending
            if now.orders is not None:
                pending = now.orders
            ended(count - pending, "; ".join(now.what))

        try:
            await wait_ended(platform, show)
        except NotEnded as error:
            output.print(str(error), markup=False, style="red")


def show(outcome: Outcome, output: Console) -> None:
    """Print the figures and the laws."""
    output.print()
    for line in render(*outcome, output.width):
        output.print(line)


async def until_signal(
    work: Coroutine[Any, Any, T], platform: Killable, output: Console
) -> T | None:
    """Do the work; None if a signal came first, and the work was cancelled."""
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
