"""The pods of a service's two tracks, and what they measure."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from devkit.canary.target import Target
from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed

__all__ = [
    "APP",
    "HOPELESS",
    "Track",
    "TrackPod",
    "image_of",
    "read_metrics",
    "read_pods",
    "why_it_waits",
]

Track = Literal["stable", "canary"]
APP = "app"
"""The name of a service's container in its pods."""

HOPELESS = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""States that a pod does not leave without a change of its Deployment or its Secrets."""

_SECONDS = 30
_AT_ONCE = 8
# The program runs inside the container, where neither a NetworkPolicy nor a sidecar is in the way.
_PRINT_METRICS = """
import sys, urllib.request
with urllib.request.urlopen("http://127.0.0.1:" + sys.argv[1] + "/metrics", timeout=20) as answer:
    sys.stdout.buffer.write(answer.read())
"""


@dataclass(frozen=True)
class TrackPod:
    """A pod of a service. `waiting` is why its container does not run; empty if it runs."""

    name: str
    track: Track
    image: str
    ready: bool
    leaving: bool
    restarts: int
    waiting: str
    message: str
    metrics_port: int


def read_pods(target: Target) -> list[TrackPod]:
    """Return the pods of both tracks. Raises ToolFailed."""
    listed = target.namespace.read("pods", "--selector", f"app={target.service},track")
    return [_pod(item) for item in listed["items"]]


def read_metrics(namespace: Namespace, pods: Sequence[TrackPod]) -> dict[str, str]:
    """Return the text of /metrics by the name of the pod, without pods that do not answer."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        texts = pool.map(lambda pod: _read(namespace, pod), pods)
        return {pod.name: text for pod, text in zip(pods, texts, strict=True) if text}


def _read(namespace: Namespace, pod: TrackPod) -> str:
    command = ("exec", pod.name, f"--container={APP}", "--", "python", "-c", _PRINT_METRICS)
    try:
        return namespace.kubectl(*command, str(pod.metrics_port), seconds=_SECONDS)
    except ToolFailed:
        return ""


def why_it_waits(status: Mapping[str, Any]) -> tuple[str, str]:
    """Return a word and a message that say why a pod's container waits; both empty if none does."""
    for state in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = state.get("state", {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return waiting["reason"], waiting.get("message", "")
    return "", ""


def image_of(spec: Mapping[str, Any]) -> str:
    """Return the image of the service's container; `spec` is that of a pod."""
    return next(str(each["image"]) for each in spec["containers"] if each["name"] == APP)


def _pod(item: Mapping[str, Any]) -> TrackPod:
    """Return a pod, from kubectl's JSON."""
    (container,) = (c for c in item["spec"]["containers"] if c["name"] == APP)
    status = item.get("status", {})
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    ready = (each["status"] for each in status.get("conditions", ()) if each["type"] == "Ready")
    waiting, message = why_it_waits(status)
    return TrackPod(
        name=item["metadata"]["name"],
        track=item["metadata"]["labels"]["track"],
        image=container["image"],
        ready="True" in ready,
        leaving="deletionTimestamp" in item["metadata"],
        restarts=sum(
            each["restartCount"]
            for each in status.get("containerStatuses", ())
            if each["name"] == APP
        ),
        waiting=waiting,
        message=message,
        metrics_port=ports.get("metrics", ports["http"]),
    )
