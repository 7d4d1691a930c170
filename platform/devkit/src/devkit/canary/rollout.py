"""The rollout of a Deployment: waited for, or ended early with the reason of its pods."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from devkit.canary.pods import APP, HOPELESS, Track, TrackPod, image_of, read_pods
from devkit.canary.target import Target
from devkit.canary.waiting import Stop
from devkit.cluster.tools import ToolFailed
from devkit.errors import DevkitError

__all__ = ["RolloutFailed", "wait_rolled_out", "why_it_cannot_run"]

_LOOK_SECONDS = 1.0


class RolloutFailed(DevkitError):
    """The pods of a Deployment do not become ready; the message says why."""


def wait_rolled_out(target: Target, track: Track, seconds: float, stop: Stop) -> None:
    """Wait until all pods of a track are ready and have the newest revision of its Deployment.

    A cluster that does not answer for a moment is asked again.

    Raises:
        RolloutFailed: a pod cannot run, or the pods are not ready after `seconds`.
        ToolFailed: the cluster does not answer after `seconds`.
        Interrupted, TakenOver: as Stop.pause.
    """
    ends_at = time.monotonic() + seconds
    while True:
        late = time.monotonic() > ends_at
        try:
            if _look(target, track, f"is not ready after {seconds:g} s" if late else ""):
                return
        except ToolFailed:
            if late:
                raise
        stop.pause(_LOOK_SECONDS)


def _look(target: Target, track: Track, too_late: str) -> bool:
    """Return whether the pods are ready. Raises RolloutFailed if they cannot be, or `too_late`."""
    name = target.service if track == "stable" else target.canary
    deployment = target.namespace.read(f"deployment/{name}")
    if _is_rolled_out(deployment):
        return True
    image = image_of(deployment["spec"]["template"]["spec"])
    pods = [p for p in read_pods(target) if p.track == track and p.image == image]
    if reason := _refusal(deployment) or why_it_cannot_run(pods):
        raise RolloutFailed(f"{name} cannot run: {reason}{_last_lines(target, pods)}")
    if too_late:
        raise RolloutFailed(f"{name} {too_late}: {_states(pods)}{_last_lines(target, pods)}")
    return False


def why_it_cannot_run(pods: Iterable[TrackPod]) -> str:
    """Return why the first pod of these that cannot run does not; empty if each may still run."""
    for pod in pods:
        if pod.waiting in HOPELESS and not pod.leaving:
            return f"{pod.waiting}: {pod.message or pod.name}"
    return ""


def _is_rolled_out(deployment: Mapping[str, Any]) -> bool:
    wanted = deployment["spec"].get("replicas", 1)
    status = deployment.get("status", {})
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("readyReplicas", 0) == wanted
    )


def _refusal(deployment: Mapping[str, Any]) -> str:
    """Return why the cluster makes no pods, such as a quota; empty if it makes them."""
    for condition in deployment.get("status", {}).get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return str(condition["message"])
    return ""


def _states(pods: Iterable[TrackPod]) -> str:
    return ", ".join(f"{pod.name} {pod.waiting or 'is not ready'}" for pod in pods) or "no pods"


def _last_lines(target: Target, pods: Iterable[TrackPod]) -> str:
    """Return the last log lines of a pod that has started and failed, for an error message."""
    for pod in pods:
        if pod.ready or not pod.restarts:
            continue
        try:
            log = target.namespace.kubectl("logs", pod.name, f"--container={APP}", "--tail=5")
        except ToolFailed:
            continue
        return "".join(f"\n  {line}" for line in log.splitlines())
    return ""
