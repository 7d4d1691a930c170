"""docs/canary.md explains every figure that a canary is compared by, from the table of gates."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from devkit.canary.analysis import GATES, Gate
from devkit.canary.analysis.gates import DistanceGate, LagGate, Margin, RestartGate, ShareGate
from devkit.canary.analysis.selectors import Selector

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "canary.md").read_text(encoding="utf-8")
HEADER = "| figure | metrics | compared | aborts from | must be seen |\n|---|---|---|---|---|\n"


def test_its_table_has_a_row_for_each_gate() -> None:
    _, _, rest = TEXT.partition(HEADER)
    rows = rest.partition("\n\n")[0].splitlines()
    assert rows == [row(gate) for gate in GATES]


def row(gate: Gate) -> str:
    match gate:
        case ShareGate():
            cells = [f"{named(gate.bad)} of {named(gate.of)}", "share", *margin(gate.margin)]
        case DistanceGate():
            cells = [named((gate.histogram,)), "distribution", *margin(gate.margin)]
        case LagGate():
            limit = f"{gate.factor:g} times stable's, plus {gate.allowed:g} events"
            cells = [f"{named((gate.lag,))} per {named((gate.lanes,))}", "limit", limit, ""]
        case RestartGate():
            allowed = str(gate.allowed + 1)
            cells = ["restarts of the containers", "limit", allowed, ""]
    return f"| {' | '.join([gate.name, *cells])} |".replace("|  |", "| |")


def named(selectors: Iterable[Selector]) -> str:
    return " and ".join(f"`{selector}`".replace("|", "\\|") for selector in selectors)


def margin(margin: Margin) -> tuple[str, str]:
    return f"{margin.least:.0%}", f"{margin.matters:.0%}"


def test_the_probability_of_a_false_alarm_is_the_one_that_the_analysis_keeps() -> None:
    from devkit.canary.analysis.statistics import FALSE_ALARM, MISSED

    assert f"of {1 / FALSE_ALARM:.0f} canaries" in TEXT
    assert re.search(rf"in {100 - 100 * MISSED:.0f} of 100 cases", TEXT)
