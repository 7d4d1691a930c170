"""The comparison is a table for people: both sides, what is needed, the verdict, and why."""

import io

import pytest
from canary_sides import Sides
from rich.console import Console

from devkit.canary.analysis import comparison_table, judge

pytestmark = pytest.mark.unit


def test_a_failed_figure_shows_both_sides_and_the_reason_without_colours() -> None:
    sides = Sides()
    sides.read()
    sides.stable.answer(9000, 9)
    sides.canary.answer(1000, 50)
    sides.stable.take(0.003, 200)
    output = io.StringIO()
    Console(file=output, width=200).print(
        comparison_table(judge(sides.read(), sides.gates, look=1))
    )
    lines = [" ".join(line.split()) for line in output.getvalue().splitlines()]
    assert lines[0] == "figure stable canary needed verdict"
    assert any(
        line.startswith("HTTP errors 0.1% (9 of 9000 requests) 5.0% (50 of 1000 requests) ")
        and line.endswith(" FAIL")
        for line in lines
    )
    assert any(
        line.startswith("handler time p50 ≤ 5 ms, p99 ≤ 5 ms (200 events) 0 events ")
        and line.endswith(" HOLD")
        for line in lines
    )
    assert lines[-1].startswith("HTTP errors: canary 5.0% (50 of 1000 requests), stable 0.1%")
    assert "\x1b" not in output.getvalue()
