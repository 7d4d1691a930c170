"""Readings of both sides from /metrics of their pods, without Prometheus."""

import time
from collections.abc import Collection
from typing import Protocol

from devkit.canary.analysis import Pod, Readings, Samples
from devkit.canary.metrics import read_pod_text
from devkit.canary.pods import Track, TrackPod, read_metrics, read_pods
from devkit.canary.target import Target

__all__ = ["PodReadings", "ReadingsSource"]


class ReadingsSource(Protocol):
    """Where readings come from, such as a Prometheus server."""

    def read(self) -> Readings: ...


class PodReadings:
    """The pods of both tracks, each asked inside its container; `names` are the metrics to read.

    A pod that does not answer for a moment counts with what it answered last.
    """

    def __init__(self, target: Target, names: Collection[str]) -> None:
        self._target = target
        self._names = names
        self._last: dict[str, Samples] = {}

    def read(self) -> Readings:
        """Return what the pods report now. Raises ToolFailed if the cluster does not answer."""
        pods = [pod for pod in read_pods(self._target) if not pod.leaving]
        at = time.time()
        texts = read_metrics(self._target.namespace, [pod for pod in pods if not pod.waiting])
        for name, text in texts.items():
            self._last[name] = read_pod_text(text, self._names)
        return Readings(at, self._side("stable", pods), self._side("canary", pods))

    def _side(self, track: Track, pods: Collection[TrackPod]) -> dict[str, Pod]:
        """Return the pods of a track; one of the canary also if it has never answered."""
        return {
            pod.name: Pod(self._last.get(pod.name, {}), pod.restarts)
            for pod in pods
            if pod.track == track and (track == "canary" or pod.name in self._last)
        }
