"""Each version's pods read a share that follows from the weight of Flagger or Argo Rollouts."""

from typing import Any

import pytest

from devkit.canary.follow import shares_of_flagger, shares_of_rollout
from devkit.errors import WrongUsage

pytestmark = pytest.mark.unit


def flagger(phase: str, weight: int = 0, **analysis: Any) -> dict[str, Any]:
    spec = {"targetRef": {"kind": "Deployment", "name": "orders"}, "analysis": analysis}
    return {"spec": spec, "status": {"phase": phase, "canaryWeight": weight} if phase else {}}


@pytest.mark.parametrize("phase", ["", "Initializing", "Terminating", "Terminated"])
def test_without_a_primary_the_pods_of_flaggers_target_are_stable(phase: str) -> None:
    assert shares_of_flagger(flagger(phase)) == {"orders": "rest", "orders-primary": "rest"}


@pytest.mark.parametrize(
    ("phase", "weight"),
    [("Initialized", 0), ("Progressing", 10), ("Promoting", 50), ("Finalising", 0), ("Failed", 0)],
)
def test_the_pods_of_flaggers_target_have_its_weight(phase: str, weight: int) -> None:
    shares = shares_of_flagger(flagger(phase, weight))
    assert shares == {"orders": str(weight), "orders-primary": "rest"}


def test_weights_of_flagger_that_exceed_100_become_percentages() -> None:
    shares = shares_of_flagger(flagger("Progressing", 5, stepWeights=[1, 5, 1000]))
    assert shares["orders"] == "0"
    shares = shares_of_flagger(flagger("Progressing", 500, stepWeights=[1, 5, 1000]))
    assert shares["orders"] == "50"


def rollout(stable: str, current: str, weight: int | None = None) -> dict[str, Any]:
    weights = {"canary": {"weight": weight, "podTemplateHash": current}, "stable": {}}
    return {
        "spec": {"strategy": {"canary": {"trafficRouting": {"istio": {}}}}},
        "status": {
            "stableRS": stable,
            "currentPodHash": current,
            "canary": {} if weight is None else {"weights": weights},
        },
    }


@pytest.mark.parametrize(
    ("stable", "current", "weight", "shares"),
    [
        # The first rollout has no stable version yet, and takes no steps.
        ("", "a1", None, {"a1": "rest", "": "rest"}),
        ("a1", "a1", 0, {"a1": "rest", "": "rest"}),
        ("a1", "b2", None, {"a1": "rest", "b2": "0", "": "rest"}),
        ("a1", "b2", 10, {"a1": "rest", "b2": "10", "": "rest"}),
        ("b2", "b2", 0, {"b2": "rest", "": "rest"}),
        ("", "", None, {"": "rest"}),
    ],
)
def test_the_pods_of_a_rollouts_new_replica_set_have_its_weight(
    stable: str, current: str, weight: int | None, shares: dict[str, str]
) -> None:
    assert shares_of_rollout(rollout(stable, current, weight)) == shares


def test_a_rollout_that_routes_no_requests_is_refused() -> None:
    with pytest.raises(WrongUsage, match="trafficRouting"):
        shares_of_rollout({"spec": {"strategy": {"canary": {"steps": []}}}})
