"""The table of gates as expressions of PromQL, for tools that ask Prometheus themselves.

Such tools compare one number with a limit and know no test. An expression therefore has no value
without enough events of the canary, so that its limit is hardly exceeded by chance.
"""

from dataclasses import dataclass

from devkit.canary.analysis.gates import DistanceGate, Gate, LagGate, RestartGate, ShareGate
from devkit.canary.analysis.selectors import Selector

__all__ = ["Expression", "Scope", "expression"]

# With 500 events, a share of 4 % instead of 0 exceeds the limit in 99 of 100 cases.
_MOST_OF_SHARE = 0.02
_LEAST_OF_SHARE = 500
_LEAST_OF_TIMES = 100
_QUANTILE = 0.9
_SLOWER = 2.5


@dataclass(frozen=True)
class Scope:
    """The pods to compare, and the time.

    Args:
        canary: conditions of labels that select the canary's pods.
        stable: conditions of labels that select stable's pods.
        interval: the time over which counters are compared, in Prometheus' notation.
    """

    canary: str
    stable: str
    interval: str


@dataclass(frozen=True)
class Expression:
    """An expression, and the largest value of a canary that is as good as stable."""

    promql: str
    most: float
    meaning: str


def expression(gate: Gate, scope: Scope) -> Expression | None:
    """Return the expression of a gate; None for one that Prometheus' counters cannot tell."""
    match gate:
        case ShareGate():
            return _share(gate, scope)
        case DistanceGate():
            return _times(gate, scope)
        case LagGate():
            return _lag(gate, scope)
        case RestartGate():
            return None


def _share(gate: ShareGate, scope: Scope) -> Expression:
    """Return the difference of both ratios of the bad ones to the first of the counters of all."""

    def ratio(pods: str) -> str:
        bad = " + ".join(_grown(selector, pods, scope) for selector in gate.bad)
        return f"({bad} or vector(0)) / {_grown(gate.of[0], pods, scope)}"

    return Expression(
        f"{ratio(scope.canary)}\n- {ratio(scope.stable)}\n"
        f"and {_grown(gate.of[0], scope.canary, scope)} >= {_LEAST_OF_SHARE}",
        _MOST_OF_SHARE,
        "the canary's share less stable's",
    )


def _times(gate: DistanceGate, scope: Scope) -> Expression:
    """Return how many times as long the canary takes."""

    def quantile(pods: str) -> str:
        rate = f"rate({gate.buckets.promql(pods)}[{scope.interval}])"
        return f"histogram_quantile({_QUANTILE:g}, sum by (le) ({rate}))"

    count = Selector(f"{gate.histogram.name}_count", gate.histogram.matchers)
    return Expression(
        f"{quantile(scope.canary)}\n/ {quantile(scope.stable)}\n"
        f"and {_grown(count, scope.canary, scope)} >= {_LEAST_OF_TIMES}",
        _SLOWER,
        f"the canary's {_QUANTILE:.0%} quantile as a multiple of stable's",
    )


def _lag(gate: LagGate, scope: Scope) -> Expression:
    """Return by how much the canary's lag per lane exceeds the allowed multiple of stable's."""

    def per_lane(pods: str) -> str:
        return f"sum({gate.lag.promql(pods)}) / sum({gate.lanes.promql(pods)})"

    return Expression(
        f"{per_lane(scope.canary)}\n- {gate.factor:g} * {per_lane(scope.stable)}",
        gate.allowed,
        f"events per lane that wait beyond {gate.factor:g} times stable's",
    )


def _grown(selector: Selector, pods: str, scope: Scope) -> str:
    return f"sum(increase({selector.promql(pods)}[{scope.interval}]))"
