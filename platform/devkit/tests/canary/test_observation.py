"""A step is observed until its figures decide; too little traffic holds it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from canary_sides import Sides

from devkit.canary.analysis import GATES, Outcome, Readings, Verdict
from devkit.canary.observation import HeldTooLong, Observer, Timing
from devkit.canary.waiting import Interrupted, Stop, TakenOver

pytestmark = pytest.mark.unit

# Eight readings in an interval: the traffic between two of them is what a test gives.
SHORT = 0.08


@dataclass
class Traffic:
    """A source of readings, with traffic before each."""

    traffic: Callable[[Sides], None]
    sides: Sides

    @classmethod
    def of(cls, traffic: Callable[[Sides], None]) -> "Traffic":
        return cls(traffic, Sides())

    def read(self) -> Readings:
        self.traffic(self.sides)
        return self.sides.read()[-1]


def observer(source: Traffic, most_hold: float | None = None, stop: Stop | None = None) -> Observer:
    return Observer(source, GATES, Timing(SHORT, most_hold), stop or Stop())


def observed(observing: Observer, weight: int = 10) -> tuple[Verdict, list[Outcome]]:
    seen: list[Outcome] = []
    see = lambda _, verdict: seen.append(verdict.outcome)  # noqa: E731
    return observing.observe(weight, see, lambda _: None), seen


def good(sides: Sides) -> None:
    sides.stable.answer(900)
    sides.canary.answer(300)


def bad(sides: Sides) -> None:
    sides.stable.answer(900)
    sides.canary.answer(300, 15)


def test_a_good_canary_passes_at_the_end_of_the_interval() -> None:
    source = Traffic.of(good)
    verdict, seen = observed(observer(source))
    assert verdict.outcome is Outcome.PASS
    assert seen == [Outcome.PASS, Outcome.PASS]
    assert len(source.sides.readings) == 9


def test_a_bad_canary_fails_in_the_middle_of_the_interval() -> None:
    source = Traffic.of(bad)
    verdict, seen = observed(observer(source))
    assert verdict.outcome is Outcome.FAIL
    assert "HTTP errors: canary 5.0%" in verdict.reason
    assert seen == [Outcome.FAIL]
    assert len(source.sides.readings) == 5


def test_a_step_without_traffic_holds_until_there_is_some() -> None:
    readings = 0

    def late(sides: Sides) -> None:
        nonlocal readings
        readings += 1
        if readings > 20:
            good(sides)

    verdict, seen = observed(observer(Traffic.of(late)))
    assert verdict.outcome is Outcome.PASS
    assert seen[:-1] == [Outcome.HOLD] * (len(seen) - 1)
    assert len(seen) > 3


def test_a_step_that_holds_for_too_long_says_what_is_missing() -> None:
    def little(sides: Sides) -> None:
        sides.stable.answer(9)
        sides.canary.answer(1)

    with pytest.raises(HeldTooLong, match="too little traffic"):
        observed(observer(Traffic.of(little), most_hold=SHORT))


def test_looks_are_counted_over_all_steps() -> None:
    observing = observer(Traffic.of(good))
    observed(observing, 10)
    observed(observing, 50)
    assert observing.looks == 4


def test_at_100_percent_the_canary_is_compared_with_stable_at_the_step_before() -> None:
    only_canary = False

    def traffic(sides: Sides) -> None:
        sides.canary.answer(300, 15 if only_canary else 0)
        if not only_canary:
            sides.stable.answer(900)

    observing = observer(Traffic.of(traffic))
    observed(observing, 50)
    only_canary = True
    verdict, _ = observed(observing, 100)
    assert verdict.outcome is Outcome.FAIL


def test_a_stop_ends_the_observation_at_once() -> None:
    stop = Stop()
    source = Traffic.of(good)
    observing = Observer(source, GATES, Timing(3600), stop)
    threading.Timer(0.05, stop.requested.set).start()
    with pytest.raises(Interrupted):
        observed(observing)


def test_a_takeover_by_another_command_ends_the_observation() -> None:
    stop = Stop()
    stop.taken_over.set()
    with pytest.raises(TakenOver):
        observed(observer(Traffic.of(good), stop=stop))
