"""Changes of a canary's weight by hand, on this machine or on a cluster."""

import time
from collections.abc import Mapping

import typer

from devkit.canary.lanes import wait_for_lanes
from devkit.canary.rollout import wait_rolled_out
from devkit.canary.session import Session
from devkit.canary.situation import Situation
from devkit.errors import DevkitError, WrongUsage
from devkit.state import read_state
from devkit.workspace import find_workspace

__all__ = ["change_here", "change_on_cluster"]

_LANES_SECONDS = 120.0


def change_here(asked: Mapping[str, int]) -> None:
    """Change the weights of canaries that `slipway run --canary` runs on this machine.

    Raises:
        DevkitError: no platform runs.
        WrongUsage: a service has no canary here.
    """
    state = read_state(find_workspace().state)
    if state is None or not state.alive:
        raise DevkitError(
            "nothing runs; `slipway run --canary inventory=30` starts a canary, and"
            " --namespace names those on a cluster"
        )
    canaries = {canary.service: canary for canary in state.canaries}
    for service in asked:
        if service not in canaries:
            raise WrongUsage(
                f"{service} has no canary here; there are: {', '.join(canaries) or 'none'}"
            )
    for service, percent in asked.items():
        before = canaries[service].weight
        canaries[service].write(percent)
        typer.echo(f"{service}  {before} % → {percent} %")
    typer.echo("Requests follow now, lanes within about 5 seconds: `slipway ps` shows both.")


def change_on_cluster(session: Session, situation: Situation, percent: int) -> None:
    """Change the weight of a canary on a cluster, and wait for its lanes.

    Raises:
        RolloutFailed: the canary's pods are not ready, so that requests would be answered 503.
        LanesDoNotFollow: the lanes are not as asked after two minutes.
        ToolFailed: helm or the cluster refused.
    """
    began = time.monotonic()
    if percent:
        wait_rolled_out(session.target, "canary", session.rollout_seconds, session.stop)
    session.release.set_weight(situation.canary, percent)
    takes = f"{percent} %"
    if situation.lanes:
        target, stop = session.target, session.stop
        lanes = wait_for_lanes(target, percent, _LANES_SECONDS, stop, lambda _: None)
        takes = f"{takes}: the canary takes {lanes}"
    session.record.add("CanaryStep", f"by hand: {takes}", weight=percent)
    session.progress.line("weight", f"{takes} after {time.monotonic() - began:.1f} s")
