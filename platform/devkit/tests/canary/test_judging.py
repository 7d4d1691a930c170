"""A canary passes, holds and fails as the figures of both sides demand."""

from dataclasses import replace

import pytest
from canary_sides import Process, Sides

from devkit.canary.analysis import GATES, Outcome, Verdict, judge

pytestmark = pytest.mark.unit


def verdict_of(sides: Sides, look: int = 1) -> Verdict:
    return judge(sides.read(), sides.gates, look=look)


def figures(verdict: Verdict, outcome: Outcome) -> list[str]:
    return [comparison.gate for comparison in verdict.of(outcome)]


def test_a_canary_without_traffic_is_held() -> None:
    sides = Sides()
    sides.read()
    verdict = verdict_of(sides)
    assert verdict.outcome is Outcome.HOLD
    assert verdict.reason == "the canary has no traffic"


def test_a_canary_that_gets_no_traffic_while_stable_does_is_held() -> None:
    sides = Sides()
    sides.read()
    sides.stable.answer(1000)
    verdict = verdict_of(sides)
    assert verdict.outcome is Outcome.HOLD
    assert "too little traffic: 0 of about" in verdict.reason


@pytest.mark.parametrize("errors", [0, 1, 2, 4])
def test_twenty_requests_neither_promote_nor_abort_a_canary(errors: int) -> None:
    sides = Sides()
    sides.read()
    sides.stable.answer(180)
    sides.canary.answer(20, errors)
    verdict = verdict_of(sides)
    assert verdict.outcome is Outcome.HOLD
    assert "HTTP errors: too little traffic: 20 of about" in verdict.reason


def test_a_canary_as_good_as_stable_passes_with_enough_requests() -> None:
    sides = Sides()
    sides.read()
    sides.stable.answer(9000, 9)
    sides.canary.answer(1000, 1)
    assert verdict_of(sides).outcome is Outcome.PASS


def test_a_canary_whose_requests_fail_is_aborted_with_both_figures() -> None:
    sides = Sides()
    sides.read()
    sides.stable.answer(9000, 9)
    sides.canary.answer(1000, 30)
    verdict = verdict_of(sides)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason.startswith(
        "HTTP errors: canary 3.0% (30 of 1000 requests), stable 0.1% (9 of 9000 requests), p = "
    )


def test_a_negligible_difference_does_not_abort_however_significant_it_is() -> None:
    sides = Sides()
    sides.read()
    sides.stable.answer(9_000_000, 9_000)
    sides.canary.answer(1_000_000, 2_000)
    verdict = verdict_of(sides)
    assert verdict.outcome is Outcome.PASS
    (errors,) = verdict.comparisons[:1]
    assert errors.probability < 1e-9


def test_a_slow_handler_fails_and_a_slightly_slower_one_does_not() -> None:
    outcomes = []
    for seconds in (0.003, 0.006, 0.015):
        sides = Sides()
        sides.read()
        sides.stable.take(0.003, 2000)
        sides.canary.take(seconds, 400)
        outcomes.append(figures(verdict_of(sides), Outcome.FAIL))
    assert outcomes == [[], [], ["handler time"]]


def test_one_slow_type_among_others_fails() -> None:
    sides = Sides()
    sides.read()
    for type, seconds in (("a", 0.002), ("b", 0.008)):
        sides.stable.take(0.002, 1000, type)
        sides.canary.take(0.002, 300, "c")
        sides.stable.take(0.002, 2700, "c")
        sides.canary.take(seconds, 100, type)
    verdict = verdict_of(sides)
    kinds = [comparison.kind for comparison in verdict.of(Outcome.FAIL)]
    assert "b" in kinds
    assert not {"a", "c"} & set(kinds)


def test_a_burst_holds_and_does_not_abort() -> None:
    sides = Sides()
    sides.read()
    for part in range(8):
        sides.stable.answer(900)
        sides.canary.answer(100, 40 if part == 5 else 0)
        sides.read()
    verdict = judge(sides.readings, sides.gates, look=1)
    assert verdict.outcome is Outcome.HOLD
    assert "in one burst" in verdict.reason


def test_a_different_mix_of_methods_does_not_count_as_a_difference() -> None:
    """Header matches and mirrored calls mix the canary's traffic differently."""
    sides = Sides()
    sides.read()
    sides.stable.answer(9000, 90, "/fragile")
    sides.stable.answer(90_000, 0, "/solid")
    sides.canary.answer(5000, 50, "/fragile")
    sides.canary.answer(1000, 0, "/solid")
    assert verdict_of(sides).outcome is Outcome.PASS


def test_counters_of_a_restarted_process_begin_at_zero_again() -> None:
    sides = Sides()
    sides.stable.answer(9000, 9)
    sides.canary.answer(5000, 0)
    sides.read()
    sides.stable.answer(9000, 9)
    sides.canary = Process(started=1000.5)
    sides.canary.answer(6000, 6)
    errors = verdict_of(sides).comparisons[0]
    assert errors.canary == "0.1% (6 of 6000 requests)"
    assert errors.stable == "0.1% (9 of 9000 requests)"


def test_two_restarts_of_the_canary_fail_and_one_does_not() -> None:
    outcomes = []
    for restarts in (0, 1, 2):
        sides = Sides()
        sides.read()
        sides.canary.restarts = restarts
        outcomes.append(figures(verdict_of(sides), Outcome.FAIL))
    assert outcomes == [[], [], ["restarts"]]


def test_a_lag_that_grows_fails_and_one_that_shrinks_holds() -> None:
    outcomes = []
    for lags in ((50, 60, 70), (90, 60, 30), (5, 80, 5)):
        sides = Sides()
        for lag in lags:
            sides.stable.lanes.set(19)
            sides.canary.lanes.set(1)
            sides.stable.lag.set(19 * 3)
            sides.canary.lag.set(lag)
            sides.read()
        verdict = judge(sides.readings, sides.gates, look=1)
        outcomes.append([each.outcome for each in verdict.comparisons if "lag" in each.gate])
    assert outcomes == [[Outcome.FAIL], [Outcome.HOLD], [Outcome.PASS]]


def test_a_canary_that_reports_no_lag_holds_while_stable_reports_its_own() -> None:
    sides = Sides()
    sides.stable.lanes.set(19)
    sides.canary.lanes.set(1)
    sides.canary.registry.unregister(sides.canary.lag)
    sides.read()
    (lag,) = [each for each in judge(sides.read(), look=1).comparisons if "lag" in each.gate]
    assert (lag.outcome, lag.reason) == (Outcome.HOLD, "the canary reports no event_lag")


def test_a_pod_that_began_during_the_step_counts_wholly_and_one_that_was_unread_does_not() -> None:
    sides = Sides()
    before, after = sides.read()[0], sides.read()[0]
    new, unread = Process(started=before.at + 1), Process(started=before.at - 3600)
    for process in (new, unread, sides.stable):
        process.answer(500, 5)
    pods = {
        "stable-1": sides.stable.read(GATES),
        "stable-2": new.read(GATES),
        "stable-3": unread.read(GATES),
    }
    sides.canary.answer(1000)
    canary = {"canary-1": sides.canary.read(GATES)}
    readings = [before, replace(after, stable=pods, canary=canary)]
    errors = judge(readings, look=1).comparisons[0]
    assert errors.stable == "1.0% (10 of 1000 requests)"


def test_at_100_percent_the_canary_is_compared_with_stable_of_the_step_before() -> None:
    sides = Sides()
    sides.read()
    sides.stable.answer(3000, 3)
    sides.canary.answer(3000, 3)
    earlier = list(sides.read())
    sides.canary.answer(6000, 600)
    last = sides.read()[1:]
    assert judge(last, look=2).outcome is Outcome.HOLD
    assert figures(judge(last, look=2, baseline=earlier), Outcome.FAIL) == ["HTTP errors"]


def test_times_at_100_percent_are_not_compared_with_those_of_the_step_before() -> None:
    """A machine that is busier now makes no good canary slow."""
    sides = Sides()
    sides.read()
    sides.stable.take(0.02, 3000)
    sides.canary.take(0.02, 3000)
    earlier = list(sides.read())
    sides.canary.take(0.2, 3000)
    last = sides.read()[1:]
    verdict = judge(last, look=2, baseline=earlier)
    assert figures(verdict, Outcome.FAIL) == []
    assert "handler time" not in [each.gate for each in verdict.comparisons]


def test_an_analysis_of_one_reading_is_refused() -> None:
    with pytest.raises(ValueError, match="two readings"):
        judge(Sides().read(), look=1)
