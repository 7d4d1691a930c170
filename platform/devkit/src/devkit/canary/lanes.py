"""The lanes of a service's two versions: as asked by the canary's weight, and as they are."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from devkit.canary.pods import read_metrics, read_pods
from devkit.canary.target import Target
from devkit.canary.waiting import Stop
from devkit.cluster.tools import ToolFailed
from devkit.errors import DevkitError

__all__ = [
    "Lanes",
    "LanesDoNotFollow",
    "hasten",
    "lanes_of",
    "read_lanes",
    "take_lanes",
    "wait_for_lanes",
]

_LOOK_SECONDS = 0.5
_HASTEN_SECONDS = 5.0
_WEIGHT = "event_lanes_weight"
_LANES = "event_lanes"
_STREAMS = "event_streams"
# Its value changes each time, because the kubelet looks at a pod's files when the pod changes.
_ANNOTATION = "slipway/canary-weight-asked-at"


class LanesDoNotFollow(DevkitError):
    """The lanes are not as the weight asks after a time in which they should be."""


@dataclass(frozen=True)
class Lanes:
    """The lanes that each version reads, over all streams, and the weight that each pod has read.

    `streams` is the number of streams that the service reads, and `complete` whether each pod has
    told its lanes. Pods measure at different moments, so that a lane that moves is counted twice or
    not at all.
    """

    stable: int
    canary: int
    weights: frozenset[int]
    streams: int
    complete: bool

    def are_as_asked(self, weight: int) -> bool:
        """Whether each of the canary's pods knows the weight, and the lanes are divided by it."""
        from chassis.events.wire.lanes import LANES

        if not self.complete or self.weights != {weight}:
            return False
        canary = (LANES * weight + 50) // 100
        asked = (self.streams * (LANES - canary), self.streams * canary)
        return self.streams > 0 and (self.stable, self.canary) == asked

    @property
    def are_all_at_stable(self) -> bool:
        """Whether the stable version reads every lane of every stream, and the canary none."""
        from chassis.events.wire.lanes import LANES

        return 0 < self.stable == self.streams * LANES and not self.canary

    def __str__(self) -> str:
        return f"{self.canary} of {self.stable + self.canary} lanes"


def lanes_of(stable: Sequence[str], canary: Sequence[str]) -> Lanes:
    """Return the lanes, from the text of /metrics of the pods of each version."""
    theirs = [_gauge(text, _LANES) for text in stable]
    own = [_gauge(text, _LANES) for text in canary]
    weights = [_gauge(text, _WEIGHT) for text in canary]
    return Lanes(
        stable=sum(each or 0 for each in theirs),
        canary=sum(each or 0 for each in own),
        weights=frozenset(each for each in weights if each is not None),
        streams=max((_gauge(text, _STREAMS) or 0 for text in (*stable, *canary)), default=0),
        complete=None not in (*theirs, *own, *weights) and bool(own),
    )


def read_lanes(target: Target) -> Lanes:
    """Return the lanes as the pods' metrics say at this moment. Raises ToolFailed."""
    pods = [pod for pod in read_pods(target) if pod.ready and not pod.leaving]
    texts = read_metrics(target.namespace, pods)
    by_track = {
        track: [texts.get(pod.name, "") for pod in pods if pod.track == track]
        for track in ("stable", "canary")
    }
    return lanes_of(by_track["stable"], by_track["canary"])


def hasten(target: Target) -> None:
    """Make the kubelet refresh the mounted weight of the canary's pods now, not within a minute."""
    selector = f"app={target.service},track=canary"
    asked = f"{_ANNOTATION}={time.time_ns()}"
    target.namespace.kubectl("annotate", "pods", "--selector", selector, "--overwrite", asked)


def take_lanes(target: Target) -> None:
    """Give the canary's pods the weight 0 before the release does, which takes longer.

    The release deletes the weight file; if it has done so already, nothing is changed.
    """
    try:
        _write_weight(target, 0)
        hasten(target)
    except ToolFailed:
        return


def _write_weight(target: Target, weight: int) -> None:
    """Change the weight file as helm does: in the name of helm, and whole.

    Helm 4 would refuse each later upgrade of the release if another program had changed a field
    that helm has written.
    """
    file = target.namespace.read(f"configmap/{target.canary}")
    # Without its uid, a file that helm has deleted meanwhile would be created again.
    kept = {name: file["metadata"].get(name) for name in ("name", "labels", "annotations", "uid")}
    file["metadata"] = {name: value for name, value in kept.items() if value}
    file["data"] = {"weight": str(weight)}
    how = ("--server-side", "--field-manager=helm", "--force-conflicts")
    target.namespace.kubectl("apply", *how, "--filename", "-", input=json.dumps(file))


def wait_for_lanes(
    target: Target, weight: int, seconds: float, stop: Stop, see: Callable[[Lanes], None]
) -> Lanes:
    """Wait until the lanes are divided as the weight asks; `see` is called with each reading.

    A cluster that does not answer for a moment is asked again.

    Raises:
        LanesDoNotFollow: they are not after `seconds`.
        ToolFailed: the cluster does not answer after `seconds`.
        Interrupted, TakenOver: as Stop.pause.
    """
    ends_at = time.monotonic() + seconds
    hastened = -inf
    while True:
        late = time.monotonic() > ends_at
        try:
            if time.monotonic() - hastened > _HASTEN_SECONDS:
                hasten(target)
                hastened = time.monotonic()
            see(lanes := read_lanes(target))
            if lanes.are_as_asked(weight):
                return lanes
            if late:
                raise LanesDoNotFollow(
                    f"the lanes do not follow the weight of {weight} %: the canary reads {lanes}"
                    f" after {seconds:g} s, and its pods know the weights {sorted(lanes.weights)}"
                )
        except ToolFailed:
            if late:
                raise
        stop.pause(_LOOK_SECONDS)


def _gauge(text: str, name: str) -> int | None:
    """Return the value of a gauge without labels; None if it has no sample."""
    prefix = f"{name} "
    return next(
        (
            round(float(line.removeprefix(prefix)))
            for line in text.splitlines()
            if line.startswith(prefix)
        ),
        None,
    )
