"""Templates for Flagger and Argo Rollouts, which compare the events of a canary with stable's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devkit.canary.analysis import GATES
from devkit.canary.metrics.promql import Expression, Scope, expression
from devkit.describing.description import PlatformDescription
from devkit.rendering.artifact import Artifact, yaml_text

__all__ = ["artifacts"]

_FOLDER = Path("deploy/canary")
_ADDITIONS = "a kustomization that patches it"
_PROMETHEUS = "http://prometheus.monitoring:9090"
_OF_EVENTS = "event"
# A ReplicaSet's hash and a pod's suffix.
_POD = "[0-9a-z]+-[0-9a-z]+"
_FLAGGER = Scope(
    canary=f'namespace="{{{{ namespace }}}}",pod=~"{{{{ target }}}}-{_POD}"',
    stable=f'namespace="{{{{ namespace }}}}",pod=~"{{{{ target }}}}-primary-{_POD}"',
    interval="{{ interval }}",
)
_ARGO = Scope(
    canary='namespace="{{args.namespace}}",pod=~"{{args.service}}-{{args.canary-hash}}-.+"',
    stable='namespace="{{args.namespace}}",pod=~"{{args.service}}-{{args.stable-hash}}-.+"',
    interval="{{args.interval}}",
)


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield a file for each tool; nothing for a platform without services."""
    if platform.services:
        templates = [_metric_template(name, each) for name, each in _expressions(_FLAGGER)]
        yield Artifact(_FOLDER / "flagger.yaml", yaml_text(_ADDITIONS, *templates))
        yield Artifact(_FOLDER / "argo-rollouts.yaml", yaml_text(_ADDITIONS, _analysis_template()))


def _expressions(scope: Scope) -> Iterator[tuple[str, Expression]]:
    """Yield name and expression of each gate that reads a metric of the event path."""
    for gate in GATES:
        found = expression(gate, scope)
        if found and any(name.startswith(_OF_EVENTS) for name in gate.metrics):
            yield gate.name.replace(" ", "-"), found


def _metric_template(name: str, found: Expression) -> dict[str, Any]:
    """Return a MetricTemplate of Flagger."""
    meaning = f"{found.meaning}; thresholdRange: {{max: {found.most:g}}}"
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "MetricTemplate",
        "metadata": {"name": name, "annotations": {"slipway/meaning": meaning}},
        "spec": {
            "provider": {"type": "prometheus", "address": _PROMETHEUS},
            "query": f"{found.promql}\n",
        },
    }


def _analysis_template() -> dict[str, Any]:
    """Return the AnalysisTemplate of Argo Rollouts, with a metric for each gate."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": "events"},
        "spec": {
            "args": [
                {"name": "namespace"},
                {"name": "service"},
                {"name": "canary-hash"},
                {"name": "stable-hash"},
                {"name": "interval", "value": "2m"},
                {"name": "prometheus", "value": _PROMETHEUS},
            ],
            "metrics": [_metric(name, found) for name, found in _expressions(_ARGO)],
        },
    }


def _metric(name: str, found: Expression) -> dict[str, Any]:
    """Return a metric that is inconclusive, which pauses the rollout, while it has no value."""
    known = "len(result) > 0 && !isNaN(result[0])"
    return {
        "name": name,
        "interval": "{{args.interval}}",
        "initialDelay": "{{args.interval}}",
        "count": 1,
        "successCondition": f"{known} && result[0] <= {found.most:g}",
        "failureCondition": f"{known} && result[0] > {found.most:g}",
        "provider": {
            "prometheus": {"address": "{{args.prometheus}}", "query": f"{found.promql}\n"}
        },
    }
