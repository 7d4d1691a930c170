"""`slipway canary …`: start, weight, status, promote, abort, follow and shadow."""

import time
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devkit.canary.shadow.command import shadow
from devkit.errors import DevkitError, WrongUsage

if TYPE_CHECKING:
    from devkit.canary.session import Session
    from devkit.canary.situation import Situation
    from devkit.canary.values_file import ValuesFile

__all__ = ["app"]

app = typer.Typer(
    help="A second version of a service, compared with the first and promoted or not. `weight` and"
    " `shadow --against` also work on this machine; the other commands need a cluster.",
    no_args_is_help=True,
)

_INTERRUPTED = 130
# An abort from another terminal lists what the canary has made since its command began.
_UNKNOWN_SECONDS = 24 * 3600.0

Service = Annotated[str, typer.Argument(help="A service.")]
NamespaceName = Annotated[
    str, typer.Option("--namespace", "-n", help="Default: the one of kubectl's context.")
]
ReleaseName = Annotated[str, typer.Option("--release", help="The helm release. Default: found.")]
WriteTo = Annotated[
    Path | None,
    typer.Option(
        "--write",
        metavar="FILE",
        help="Edit this file of values for a deployment from a repository; reach no cluster.",
    ),
]
RolloutTime = Annotated[str, typer.Option(help="Time in which pods must become ready.")]


@app.command()
def start(
    service: Service,
    tag: Annotated[str, typer.Option(help="Tag of the canary's image, or its sha256:… digest.")],
    steps: Annotated[str, typer.Option(help="Weights in percent.")] = "5,10,25,50,100",
    interval: Annotated[str, typer.Option(help="Time for which each step is observed.")] = "60s",
    max_hold: Annotated[
        str, typer.Option(help="Abort if a step holds for longer. Default: hold for any time.")
    ] = "",
    promote: Annotated[
        bool, typer.Option("--promote", help="Promote the canary after the last step.")
    ] = False,
    prometheus: Annotated[
        str, typer.Option(metavar="URL", help="Read Prometheus. Default: the pods' /metrics.")
    ] = "",
    rollout_timeout: RolloutTime = "5m",
    namespace: NamespaceName = "",
    release: ReleaseName = "",
    write: WriteTo = None,
) -> None:
    """Deploy a canary, raise its weight in steps, and abort it if a figure of it is worse.

    The same command continues a canary whose command has ended. Ctrl-C leaves the canary at its
    weight; nothing judges it then.
    """
    from devkit.canary.start import check_steps

    weights = check_steps(steps)
    if write is not None:
        changes, has_weight = _file(write, service).start(tag, weights[0])
        _written(write, changes)
        if not has_weight:
            again = f"run this command again, which gives it {weights[0]} %"
            typer.echo(f"deploy it, wait for the rollout of {service}-canary, and {again}")
        return
    from devkit.canary.analysis import metric_names
    from devkit.canary.figures import gates_of
    from devkit.canary.metrics import PrometheusSource
    from devkit.canary.observation import Observer, Timing
    from devkit.canary.pod_readings import PodReadings, ReadingsSource
    from devkit.canary.start import Start

    timing = Timing(_seconds("--interval", interval), _seconds("--max-hold", max_hold) or None)
    session = _session(service, namespace, release, _seconds("--rollout-timeout", rollout_timeout))
    target, gates = session.target, gates_of(session.target)
    names = metric_names(gates)
    source: ReadingsSource = PodReadings(target, names)
    if prometheus:
        source = PrometheusSource(prometheus, target.namespace.name, service, names, time.time())
    observer = Observer(source, gates, timing, session.stop)
    plan = {"command": "start", "tag": tag, "steps": steps, "interval": interval}
    with _changing(session, plan, by_force=False):
        Start(session, observer, tag, weights, promote).run()


@app.command()
def weight(
    weights: Annotated[
        list[str], typer.Argument(help="The canary's share in percent: inventory=50")
    ],
    namespace: NamespaceName = "",
    release: ReleaseName = "",
    write: WriteTo = None,
) -> None:
    """Change the weight of canaries by hand; nothing judges them.

    They are those of `slipway run --canary` on this machine, or with --namespace those on a
    cluster. Requests follow at once, and lanes of events within seconds.
    """
    from devkit.canary.weight import change_here, change_on_cluster
    from devkit.local_canary.options import parse_weights

    asked = parse_weights("weight", weights)
    if write is not None:
        for service, percent in asked.items():
            _written(write, _file(write, service).set_weight(percent))
    elif not namespace:
        change_here(asked)
    else:
        for service, percent in asked.items():
            session = _session(service, namespace, release)
            with _changing(session, {"command": "weight", "percent": percent}, by_force=False):
                change_on_cluster(session, _need_canary(session), percent)


@app.command()
def status(
    service: Service,
    seconds: Annotated[
        float, typer.Option(min=0, help="Time over which figures are measured; 0 for none.")
    ] = 5,
    namespace: NamespaceName = "",
    release: ReleaseName = "",
) -> None:
    """Print the weight as asked, the lanes as they are, and the figures of both versions."""
    from devkit.canary.status import show_status

    session = _session(service, namespace, release)
    with session.progress.shown():
        show_status(session.target, session.progress, seconds)


@app.command()
def promote(
    service: Service,
    rollout_timeout: RolloutTime = "5m",
    namespace: NamespaceName = "",
    release: ReleaseName = "",
    write: WriteTo = None,
) -> None:
    """Make the canary's version the stable one while the canary serves, then end the canary."""
    if write is not None:
        changes, ended = _file(write, service).promote()
        _written(write, changes)
        if not ended:
            typer.echo("deploy it, wait for the rollout, and run this command again")
        return
    from devkit.canary import ending

    session = _session(service, namespace, release, _seconds("--rollout-timeout", rollout_timeout))
    with _changing(session, {"command": "promote"}, by_force=False):
        ending.promote(session, _need_canary(session))


@app.command()
def abort(
    service: Service,
    namespace: NamespaceName = "",
    release: ReleaseName = "",
    write: WriteTo = None,
) -> None:
    """Give all requests and events to the stable version, and delete the canary."""
    if write is not None:
        file = _file(write, service)
        kept = file.promoted
        _written(write, file.abort())
        if kept:
            typer.echo(f"stable keeps {kept}, which `promote` wrote: revert that commit to return")
        return
    from devkit.canary import ending

    session = _session(service, namespace, release)
    with _changing(session, {"command": "abort"}, by_force=True):
        ending.abort(session, _need_canary(session), "by hand", seconds=_UNKNOWN_SECONDS)


@app.command()
def follow(services: Annotated[list[str], typer.Argument()], namespace: NamespaceName = "") -> None:
    """Give events the weight that Flagger or Argo Rollouts gives to requests, until Ctrl-C.

    The services' values name the tool (`canary.follows`), and its object has the service's name.
    """
    from devkit.canary.follow import Follower, follow_all
    from devkit.canary.progress import Progress
    from devkit.canary.target import current_namespace
    from devkit.canary.waiting import Interrupted, Stop, stop_on_signals
    from devkit.cluster.namespace import Namespace, check_cluster
    from devkit.console import console

    check_cluster()
    place, progress, stop = Namespace(namespace or current_namespace()), Progress(console()), Stop()
    followers = [Follower(place, service, progress) for service in services]
    try:
        with stop_on_signals(stop, lambda text: progress.line("", text)):
            follow_all(followers, stop)
    except Interrupted:
        progress.line("stopped", "events keep the last weight", "yellow")
        raise typer.Exit(_INTERRUPTED) from None


app.command()(shadow)


def _session(
    service: str, namespace: str, release: str, rollout_seconds: float = 300.0
) -> "Session":
    """Return what the commands on a cluster share. Raises DevkitError if no cluster answers."""
    from devkit.canary.progress import Progress
    from devkit.canary.record import Record, record_file
    from devkit.canary.session import Session
    from devkit.canary.target import current_namespace, find_target
    from devkit.canary.waiting import Stop
    from devkit.cluster.namespace import Namespace, check_cluster
    from devkit.cluster.tools import missing
    from devkit.console import console
    from devkit.workspace import find_workspace

    workspace = find_workspace()
    if lines := missing(("kubectl", "helm")):
        raise DevkitError("\n".join([*_hint_of_local_canary(workspace.state, service), *lines]))
    check_cluster()
    place = Namespace(namespace or current_namespace())
    target = find_target(workspace.root, place, service, release)
    record = Record(target, record_file(workspace.state, target))
    return Session(target, record, Progress(console()), Stop(), rollout_seconds)


def _hint_of_local_canary(state: Path, service: str) -> Iterator[str]:
    """Yield what to do instead if the canary of a service runs on this machine."""
    from devkit.state import read_state

    found = read_state(state)
    if found is not None and found.alive and service in {each.service for each in found.canaries}:
        yield (
            f"{service} has a canary on this machine: `slipway ps` shows it, `slipway canary weight"
            f" {service}=0` aborts it. This command is for a cluster:"
        )


@contextmanager
def _changing(session: "Session", plan: dict[str, Any], *, by_force: bool) -> Iterator[None]:
    """Hold the lease meanwhile; if the work is stopped, say how the canary is continued."""
    from devkit.canary.lease import Lease
    from devkit.canary.waiting import Interrupted, TakenOver, stop_on_signals

    stop, progress, service = session.stop, session.progress, session.target.service
    lease = Lease(session.target, plan, lost=stop.taken_over).take(by_force=by_force)
    try:
        with (
            lease,
            stop_on_signals(stop, lambda text: progress.line("", text)),
            progress.shown(),
        ):
            if change := session.target.change_of_chart():
                progress.line("chart", change, "yellow")
            yield
    except TakenOver:
        raise DevkitError(f"another command has taken over the canary of {service}") from None
    except Interrupted:
        progress.line("stopped", "the canary stays as it is, and nothing judges it", "yellow")
        progress.line("", "continue: the same command; end: slipway canary abort " + service)
        raise typer.Exit(_INTERRUPTED) from None


def _need_canary(session: "Session") -> "Situation":
    from devkit.canary.situation import read_situation

    situation = read_situation(session.target)
    if not situation.canary:
        raise WrongUsage(f"{session.target.service} has no canary")
    return situation


def _file(path: Path, service: str) -> "ValuesFile":
    from devkit.canary.values_file import ValuesFile

    return ValuesFile(path, service)


def _written(path: Path, changes: list[str]) -> None:
    for line in changes:
        typer.echo(f"{path}: {line}")
    if not changes:
        typer.echo(f"{path} has these values already")


def _seconds(option: str, text: str) -> float:
    """Return a time such as 60s, 15m or 2h in seconds; 0 for an empty text. Raises WrongUsage."""
    from chassis.operations.command_line.arguments import duration

    if not text:
        return 0.0
    try:
        return float(duration(text))
    except ArgumentTypeError as error:
        raise WrongUsage(f"{option} {text}: {error}") from error
