"""A step that holds says how long it will hold at the present traffic."""

import pytest
from canary_sides import Sides

from devkit.canary.analysis import Outcome, judge
from devkit.canary.analysis.pace import pace_of

pytestmark = pytest.mark.unit


def test_the_time_left_is_that_of_the_figure_which_needs_the_longest() -> None:
    sides = Sides()
    sides.read()
    sides.stable.take(0.004, 1200)
    sides.canary.take(0.004, 120)
    verdict = judge(sides.read(), look=1)
    assert verdict.outcome is Outcome.HOLD
    pace = pace_of(verdict, 60)
    assert pace is not None
    assert (pace.per_second, pace.unit) == (2.0, "events")
    longest = max(c.traffic.needed for c in verdict.comparisons if c.traffic)
    assert pace.seconds_left == pytest.approx((longest - 120) / 2)
    assert str(pace) == f"about {pace.seconds_left / 60:.0f} min more at 2.0 events/s"


def test_a_canary_without_traffic_has_no_pace() -> None:
    sides = Sides()
    sides.read()
    sides.stable.take(0.004, 1200)
    assert pace_of(judge(sides.read(), look=1), 60) is None


def test_a_step_that_passes_has_no_pace() -> None:
    sides = Sides()
    sides.read()
    for process in (sides.stable, sides.canary):
        process.take(0.004, 5000)
    assert pace_of(judge(sides.read(), look=1), 60) is None
