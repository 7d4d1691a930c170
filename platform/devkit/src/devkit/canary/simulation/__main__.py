"""`python -m devkit.canary.simulation`: the shares of false alarms and of bad canaries found."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import median
from typing import Annotated

import typer

from devkit.canary.analysis import Outcome
from devkit.canary.simulation import SCENARIOS, Ending, Plan, roll_out
from devkit.canary.simulation.traffic import GOOD, Traffic
from devkit.console import console

__all__ = ["main"]

_COLUMNS = ("promoted", "aborted", "at step 1", "given up", "median seconds")


def main(
    runs: Annotated[int, typer.Option(help="Canaries of each scenario.", min=1)] = 100,
    rate: Annotated[float, typer.Option(help="Events in a second.", min=0.1, max=300)] = 50.0,
    first: Annotated[int, typer.Option(help="Weight of the first step.", min=1, max=100)] = 10,
    processes: Annotated[int, typer.Option(help="Simulations at once.", min=1)] = 1,
    only: Annotated[str, typer.Option(help="One scenario instead of all.")] = "",
) -> None:
    """Simulate canaries with seeds from 1, and print how they end."""
    plan = Plan(steps=(first, *(step for step in (10, 25, 50, 100) if step > first)))
    output, reasons = console(), Counter[str]()
    output.print(_line("canary", _COLUMNS), style="dim")
    with ProcessPoolExecutor(processes) as pool:
        for name in [only] if only else SCENARIOS:
            simulate = partial(_simulate, name, rate, plan)
            endings = list(pool.map(simulate, range(1, runs + 1)))
            output.print(_line(name, _cells(endings)))
            reasons.update(
                f"{name}: {ending.reason.partition(':')[0]}" for ending in endings if ending.reason
            )
    for reason, number in reasons.most_common():
        output.print(f"{number} × {reason}", style="dim")


def _simulate(name: str, rate: float, plan: Plan, seed: int) -> Ending:
    return roll_out(Traffic(GOOD, SCENARIOS[name].canary, rate, seed), plan)


def _cells(endings: list[Ending]) -> list[str]:
    of = Counter(ending.outcome for ending in endings)
    at_first = sum(ending.outcome is Outcome.FAIL and ending.step == 1 for ending in endings)
    counts = (of[Outcome.PASS], of[Outcome.FAIL], at_first, of[Outcome.HOLD])
    seconds = median(ending.seconds for ending in endings)
    return [*map(str, counts), f"{seconds:.0f}"]


def _line(name: str, cells: Sequence[str]) -> str:
    width = max(map(len, SCENARIOS))
    columns = (f"{cell:>{len(column)}}" for cell, column in zip(cells, _COLUMNS, strict=True))
    return "  ".join([f"{name:<{width}}", *columns])


if __name__ == "__main__":
    typer.run(main)
