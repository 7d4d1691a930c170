"""Simulated canaries end as they should: bad ones are aborted at once, good ones are promoted."""

import pytest

from devkit.canary.analysis import Outcome
from devkit.canary.simulation import SCENARIOS, Ending, Plan, Scenario, roll_out
from devkit.canary.simulation.traffic import GOOD, Traffic

EVENTS_PER_SECOND = 50.0
PLAN = Plan(steps=(10, 25, 50, 100), most_looks=16)
BAD = {name: scenario for name, scenario in SCENARIOS.items() if scenario.bad}
HARMLESS = {name: scenario for name, scenario in SCENARIOS.items() if not scenario.bad}


def simulate(scenario: Scenario, seed: int, rate: float = EVENTS_PER_SECOND) -> Ending:
    return roll_out(Traffic(GOOD, scenario.canary, rate, seed), PLAN)


@pytest.mark.unit
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_canary_is_aborted_at_its_first_step(name: str, seed: int) -> None:
    ending = simulate(BAD[name], seed)
    assert (ending.outcome, ending.step) == (Outcome.FAIL, 1)


@pytest.mark.unit
@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_canary_is_promoted(name: str) -> None:
    assert simulate(HARMLESS[name], seed=1).outcome is Outcome.PASS


@pytest.mark.unit
def test_a_canary_with_hardly_any_traffic_is_neither_promoted_nor_aborted() -> None:
    ending = simulate(HARMLESS["as good as stable"], seed=1, rate=0.2)
    assert ending.outcome is Outcome.HOLD
    assert ending.step == 1
    assert "too little traffic" in ending.reason


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", HARMLESS)
def test_at_most_one_of_twenty_harmless_canaries_is_aborted(name: str) -> None:
    endings = [simulate(HARMLESS[name], seed) for seed in range(1, 101)]
    aborted = sum(ending.outcome is Outcome.FAIL for ending in endings)
    assert aborted <= 5
    assert sum(ending.outcome is Outcome.PASS for ending in endings) == len(endings) - aborted


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", BAD)
def test_a_hundred_bad_canaries_are_aborted_and_nearly_all_at_once(name: str) -> None:
    endings = [simulate(BAD[name], seed) for seed in range(1, 101)]
    assert all(ending.outcome is Outcome.FAIL for ending in endings)
    assert sum(ending.step == 1 for ending in endings) >= 97
