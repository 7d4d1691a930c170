"""`slipway canary follow`: events take the weight that Flagger or Argo Rollouts gives to requests.

The pods of both versions have one template there, and a label tells them apart. A pod reads the key
of the service's ConfigMap that ends with its label's value: a percentage, or `rest` for the pods
that share the lanes that the canary leaves.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from devkit.canary.progress import Progress
from devkit.canary.waiting import Stop
from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed
from devkit.errors import WrongUsage

__all__ = ["Follower", "follow_all", "shares_of_flagger", "shares_of_rollout"]

_REST = "rest"
_KEY = "weight-of-"
_FOLLOWS = "slipway/follows"
# Its value changes each time, because the kubelet looks at a pod's files when the pod changes.
_ANNOTATION = "slipway/canary-weight-asked-at"
_LOOK_SECONDS = 2.0
# A kubelet that has not seen the new ConfigMap at the first annotation looks again at the next.
_ANNOTATIONS = 3
# There are no primary pods in these phases of Flagger: the target's pods are the stable ones.
_WITHOUT_PRIMARY = {"", "Initializing", "Terminating", "Terminated"}

Shares = dict[str, str]
"""The texts that pods read, by the value of the label that tells the versions apart."""


def shares_of_flagger(canary: Mapping[str, Any]) -> Shares:
    """Return the shares of the pods of a Canary's target and of its primary, by their label."""
    status = canary.get("status", {})
    target = canary["spec"]["targetRef"]["name"]
    # Steps may rise above 100; then weights are parts of the last step.
    whole = max([100, *canary["spec"].get("analysis", {}).get("stepWeights", ())])
    is_stable = status.get("phase", "") in _WITHOUT_PRIMARY
    percent = 100 * status.get("canaryWeight", 0) // whole
    return {target: _REST if is_stable else str(percent), f"{target}-primary": _REST}


def shares_of_rollout(rollout: Mapping[str, Any]) -> Shares:
    """Return the shares of a Rollout's two ReplicaSets, by the hashes of their pods.

    Pods of the Deployment from which a Rollout takes its template have no hash, and are stable.

    Raises:
        WrongUsage: the Rollout divides pods and no requests, and so has no weight.
    """
    if "trafficRouting" not in (rollout["spec"].get("strategy", {}).get("canary") or {}):
        raise WrongUsage(
            "the Rollout has no spec.strategy.canary.trafficRouting, so that Argo Rollouts gives"
            " requests no weight that events could follow"
        )
    status = rollout.get("status", {})
    stable, current = status.get("stableRS", ""), status.get("currentPodHash", "")
    weights = status.get("canary", {}).get("weights") or {}
    weight = weights.get("canary", {}).get("weight", 0)
    return {current: str(weight), stable or current: _REST, "": _REST}


@dataclass(frozen=True)
class _Tool:
    """A tool, and the kind of object in which it keeps the weight."""

    name: str
    kind: str
    shares: Callable[[Mapping[str, Any]], Shares]


# By the value `canary.follows` of the chart.
_TOOLS = {
    "flagger": _Tool("Flagger", "canary.flagger.app", shares_of_flagger),
    "argo-rollouts": _Tool("Argo Rollouts", "rollout.argoproj.io", shares_of_rollout),
}


@dataclass
class Follower:
    """The work for one service: its ConfigMap says what the tool's object of its name says."""

    namespace: Namespace
    service: str
    progress: Progress
    _annotations: int = field(default=0, init=False)
    _told: str = field(default="", init=False)

    def follow(self) -> None:
        """Read the weight, and write it if it has changed; say what the cluster refused.

        Raises WrongUsage: the service follows no tool, or the tool gives it no weight.
        """
        said = ""
        try:
            self._follow()
        except ToolFailed as error:
            said = str(error)
        if said and said != self._told:
            self.progress.line(self.service, f"asking again: {said}", "yellow")
        self._told = said

    def _follow(self) -> None:
        kept = self._weights()
        tool = _tool_of(kept, self.service)
        shares = tool.shares(self.namespace.read(f"{tool.kind}/{self.service}"))
        if change := _change(kept.get("data") or {}, shares):
            patch = json.dumps({"data": change})
            name = f"configmap/{kept['metadata']['name']}"
            self.namespace.kubectl("patch", name, "--type=merge", f"--patch={patch}")
            self._annotations = _ANNOTATIONS
            self.progress.line(self.service, f"{tool.name} says {_described(shares)}")
        if self._annotations:
            self._annotations -= 1
            self._hasten()

    def _weights(self) -> Mapping[str, Any]:
        """Return the ConfigMap from which the pods read. Raises WrongUsage if there is none."""
        name = f"{self.service}-canary"
        found = self.namespace.kubectl(
            "get", f"configmap/{name}", "--ignore-not-found", "--output=json"
        )
        if not found.strip():
            raise WrongUsage(
                f"{self.service} follows no tool: there is no ConfigMap {name} in namespace"
                f" {self.namespace.name}. Set canary.follows of its chart."
            )
        return dict(json.loads(found))

    def _hasten(self) -> None:
        """Make the kubelet refresh the mounted weights now, not within a minute."""
        pods = f"app.kubernetes.io/name={self.service}"
        asked = f"{_ANNOTATION}={time.time_ns()}"
        self.namespace.kubectl("annotate", "pods", "--selector", pods, "--overwrite", asked)


def follow_all(followers: Sequence[Follower], stop: Stop) -> None:
    """Follow until the stop is requested.

    Raises:
        WrongUsage: a service follows no tool, or the tool gives it no weight.
        Interrupted: a signal has come.
    """
    while True:
        for follower in followers:
            follower.follow()
        stop.pause(_LOOK_SECONDS)


def _tool_of(weights: Mapping[str, Any], service: str) -> _Tool:
    named = weights["metadata"].get("annotations", {}).get(_FOLLOWS, "")
    if named not in _TOOLS:
        raise WrongUsage(
            f"{service} has a canary of its own and follows no tool: set canary.follows of its"
            f" chart to {' or '.join(_TOOLS)}"
        )
    return _TOOLS[named]


def _change(known: Mapping[str, str], shares: Shares) -> dict[str, str | None]:
    """Return what must be written; None removes the key of a version that has ended."""
    wanted = {f"{_KEY}{value}": share for value, share in shares.items()}
    changed = {key: share for key, share in wanted.items() if known.get(key) != share}
    ended = (key for key in known if key.startswith(_KEY) and key not in wanted)
    return {**changed, **dict.fromkeys(ended)}


def _described(shares: Shares) -> str:
    return ", ".join(f"{value}: {share}" for value, share in sorted(shares.items()) if value)
