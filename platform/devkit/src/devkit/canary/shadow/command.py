"""`slipway canary shadow`: what a new version would do with recorded events."""

import signal
from typing import Annotated

import typer

from devkit.errors import WrongUsage
from devkit.stop_signals import stop_signals

__all__ = ["shadow"]


def shadow(
    service: Annotated[str, typer.Argument(help="A service.")],
    tag: Annotated[
        str, typer.Option(help="On a cluster: tag of the canary's image, or its sha256:… digest.")
    ] = "",
    against: Annotated[
        str,
        typer.Option(
            metavar="GIT_REF",
            help="On this machine: compare the working tree with this commit.",
        ),
    ] = "",
    events: Annotated[int, typer.Option(min=1, help="How many of the last events.")] = 1000,
    diffs: Annotated[
        int, typer.Option(min=0, help="Differences to print for each handler and table.")
    ] = 5,
    allow_calls: Annotated[
        list[str] | None,
        typer.Option(metavar="SERVICE", help="Let handlers call RPCs that may change something."),
    ] = None,
    allow_handler: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Run this async def handler, which may do anything."),
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Default: the one of kubectl's context.")
    ] = "",
) -> None:
    """Replay recorded events to two versions of a service, and show what they do differently.

    Nothing is committed, published or called. The exit code is 1 if something differs.
    """
    from devkit.canary.shadow.cluster import shadow_on_cluster
    from devkit.canary.shadow.comparison import compare
    from devkit.canary.shadow.local import shadow_locally
    from devkit.canary.shadow.report import print_report
    from devkit.canary.shadow.request import Request
    from devkit.canary.target import current_namespace
    from devkit.cluster.namespace import Namespace, check_cluster
    from devkit.console import console
    from devkit.workspace import find_workspace

    # A process that is asked to end leaves as little behind as after Ctrl-C.
    for number in stop_signals():
        signal.signal(number, signal.default_int_handler)
    if bool(tag) == bool(against):
        raise WrongUsage("give --against GIT_REF on this machine, or --tag TAG on a cluster")
    request = Request(service, events, allow_calls or (), allow_handler or ())
    if against:
        written = shadow_locally(find_workspace(), request, against, _say)
    else:
        check_cluster()
        place = Namespace(namespace or current_namespace())
        written = shadow_on_cluster(place, request, tag, _say)
    comparison = compare(*written)
    print_report(comparison, console(), diffs)
    raise typer.Exit(1 if comparison.different else 0)


def _say(version: str, text: str) -> None:
    """Print what a version says to standard error; standard output has the comparison alone."""
    typer.echo(f"{version:<6}  {text}", err=True)
