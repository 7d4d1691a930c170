"""Comparisons of what pods report about themselves: the lag of their lanes, and restarts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from devkit.canary.analysis.gates import LagGate, RestartGate
from devkit.canary.analysis.samples import Pod, Readings
from devkit.canary.analysis.selectors import Selector
from devkit.canary.analysis.verdict import Comparison, Outcome
from devkit.canary.analysis.window import Window

__all__ = ["compare_lag", "compare_restarts"]


class _Lag(NamedTuple):
    """The events that wait per lane at one moment."""

    stable: float
    canary: float


def compare_lag(gate: LagGate, window: Window) -> Iterator[Comparison]:
    """Yield the comparison of the lag per lane; nothing if one of the sides reads no lanes.

    A canary fails if its lag is too large in each reading of the second half of the step and does
    not shrink. A lag that shrinks holds: the lanes came with it when the weight changed. A canary
    that reports no lag holds if stable reports one.
    """
    latest = window.readings[-1]
    if latest.canary and _reports(gate, latest.stable) and not _reports(gate, latest.canary):
        reason = f"the canary reports no {gate.lag.name}"
        yield Comparison(gate.name, "", "reported", "not reported", "", Outcome.HOLD, reason)
        return
    lags = [lag for readings in window.readings if (lag := _lag(gate, readings))]
    if not lags:
        return
    recent = lags[len(lags) // 2 :]
    last, limit = recent[-1], gate.allowed + gate.factor * recent[-1].stable
    high = all(lag.canary > gate.allowed + gate.factor * lag.stable for lag in recent)
    outcome, reason = Outcome.PASS, ""
    if last.canary > limit:
        both = f"canary {last.canary:.0f} events per lane, stable {last.stable:.0f}"
        grows = high and len(recent) > 1 and last.canary >= recent[0].canary
        outcome = Outcome.FAIL if grows else Outcome.HOLD
        reason = both if grows else f"the lag may still shrink: {both}"
    yield Comparison(
        gate.name,
        "",
        f"{last.stable:.1f} events",
        f"{last.canary:.1f} events",
        f"at most {limit:.0f} events",
        outcome,
        reason,
    )


def compare_restarts(gate: RestartGate, window: Window) -> Iterator[Comparison]:
    """Yield the comparison of the restarts, those of stable being the ones during the step.

    A canary fails if its containers have been restarted more often than `allowed` since its pods
    were created, unless stable's were restarted as often, per pod: then another cause is likely.
    """
    first, last = window.readings[0], window.readings[-1]
    if not last.canary:
        return
    canary = sum(pod.restarts for pod in last.canary.values())
    stable = sum(
        max(0, pod.restarts - first.stable[name].restarts)
        for name, pod in last.stable.items()
        if name in first.stable
    )
    outcome, reason = Outcome.PASS, ""
    if canary > gate.allowed:
        reason = f"{canary} of the canary's containers, {stable} of stable's"
        shared = stable / max(1, len(last.stable)) >= canary / len(last.canary)
        outcome = Outcome.HOLD if shared else Outcome.FAIL
    yield Comparison(
        gate.name, "", str(stable), str(canary), f"at most {gate.allowed}", outcome, reason
    )


def _lag(gate: LagGate, readings: Readings) -> _Lag | None:
    """Return the lag per lane, None if it was not measured on a side or a side has no lanes."""
    stable, canary = (_per_lane(gate, pods.values()) for pods in (readings.stable, readings.canary))
    return None if stable is None or canary is None else _Lag(stable, canary)


def _reports(gate: LagGate, pods: Mapping[str, Pod]) -> bool:
    """Whether a pod of a side reports how many events wait."""
    return any(_value(gate.lag, pod) is not None for pod in pods.values())


def _per_lane(gate: LagGate, pods: Iterable[Pod]) -> float | None:
    lag = lanes = 0.0
    for pod in pods:
        pod_lag, pod_lanes = _value(gate.lag, pod), _value(gate.lanes, pod)
        if pod_lag is not None and pod_lanes is not None:
            lag, lanes = lag + pod_lag, lanes + pod_lanes
    return lag / lanes if lanes else None


def _value(selector: Selector, pod: Pod) -> float | None:
    """Return the sum of a gauge's series, None if it has no sample."""
    values = [value for series, value in pod.samples.items() if selector.matches(series)]
    return sum(values) if values else None
