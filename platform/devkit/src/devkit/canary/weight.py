"""`slipway canary weight`: changes the weights of canaries of a platform on this machine."""

from typing import Annotated

import typer

from devkit.errors import DevkitError, WrongUsage
from devkit.local_canary.options import parse_weights
from devkit.state import read_state
from devkit.workspace import find_workspace

__all__ = ["weight"]


def weight(
    weights: Annotated[
        list[str],
        typer.Argument(help="The canary's share of requests and events in percent: inventory=50"),
    ],
) -> None:
    """Change the weight of canaries that `slipway run --canary` runs on this machine.

    Requests follow at once, and lanes of events within seconds.
    """
    asked = parse_weights("weight", weights)
    state = read_state(find_workspace().state)
    if state is None or not state.alive:
        raise DevkitError("nothing runs; `slipway run --canary inventory=30` starts a canary")
    canaries = {canary.service: canary for canary in state.canaries}
    for service in asked:
        if service not in canaries:
            raise WrongUsage(
                f"{service} has no canary here; there are: {', '.join(canaries) or 'none'}"
            )
    width = max(map(len, asked))
    for service, percent in asked.items():
        before = canaries[service].weight
        canaries[service].write(percent)
        typer.echo(f"{service:<{width}}  {before:>3} % → {percent:>3} %")
    typer.echo("Requests follow now, lanes within seconds: `slipway ps` shows both.")
