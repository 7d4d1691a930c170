"""`slipway canary status`: a canary as the cluster has it, from any machine."""

import json
import time
from collections.abc import Sequence

from devkit.canary.analysis import judge, metric_names
from devkit.canary.figures import gates_of
from devkit.canary.lanes import Lanes, read_lanes
from devkit.canary.lease import Held, read_lease
from devkit.canary.pod_readings import PodReadings
from devkit.canary.pods import TrackPod, read_pods
from devkit.canary.progress import Progress
from devkit.canary.situation import Situation, read_situation
from devkit.canary.target import Target

__all__ = ["show_status"]

_EVENTS_SHOWN = 5


def show_status(target: Target, progress: Progress, seconds: float) -> None:
    """Print the weight as asked, the lanes as they are, and the figures of the last `seconds`.

    Raises:
        ToolFailed: the cluster refused to answer.
    """
    situation = read_situation(target)
    pods = read_pods(target)
    progress.line("stable", f"{situation.stable}, {_pods_text(pods, 'stable')}")
    if not situation.canary:
        progress.line("canary", "none")
    else:
        progress.line("canary", f"{situation.canary}, {_pods_text(pods, 'canary')}")
        progress.line("weight", f"{situation.weight} % of the requests and lanes")
        if situation.lanes:
            progress.line("lanes", _lanes_text(read_lanes(target), situation))
    if (held := read_lease(target)) is not None and (situation.canary or held.alive):
        progress.line("command", _command_text(held))
    if situation.canary and seconds:
        _show_figures(target, progress, seconds)
    for line in _last_events(target):
        progress.line("event", line)


def _show_figures(target: Target, progress: Progress, seconds: float) -> None:
    gates = gates_of(target)
    source = PodReadings(target, metric_names(gates))
    readings = [source.read()]
    progress.now(f"measuring for {seconds:g} s")
    time.sleep(seconds)
    verdict = judge([*readings, source.read()], gates, look=1)
    progress.line("figures", f"of the last {seconds:g} s; a step is judged by more")
    progress.figures(verdict)


def _pods_text(pods: Sequence[TrackPod], track: str) -> str:
    own = [pod for pod in pods if pod.track == track and not pod.leaving]
    ready = sum(pod.ready for pod in own)
    restarts = sum(pod.restarts for pod in own)
    waiting = {f"{pod.waiting}: {pod.message}" for pod in own if pod.waiting}
    return "; ".join(
        [f"{ready} of {len(own)} pods ready", f"restarts: {restarts}", *sorted(waiting)]
    )


def _lanes_text(lanes: Lanes, situation: Situation) -> str:
    moving = "" if lanes.are_as_asked(situation.weight) else ", still moving"
    return f"the canary reads {lanes}{moving}"


def _command_text(held: Held) -> str:
    doing = ", ".join(f"{name} {value}" for name, value in held.plan.items())
    if held.alive:
        return f"{held.holder} since {held.since:%H:%M:%S} UTC: {doing}"
    return f"none runs; the last one: {doing}"


def _last_events(target: Target) -> list[str]:
    """Return the last entries of the record that the cluster still has."""
    fields = f"involvedObject.kind=Deployment,involvedObject.name={target.service}"
    found = json.loads(
        target.namespace.kubectl("get", "events", "--field-selector", fields, "--output=json")
    )["items"]
    own = [each for each in found if each["reason"].startswith("Canary")]
    own.sort(key=lambda each: (each["lastTimestamp"], each["metadata"]["creationTimestamp"]))
    return [f"{e['lastTimestamp']} {e['reason']}: {e['message']}" for e in own[-_EVENTS_SHOWN:]]
