"""`slipway demo`: replays published baskets on a platform, and checks the laws."""

import json
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from demo.catalog import from_sample, from_whole_set
from demo.plan import Outcome, Plan
from demo.summary import as_json
from devkit.console import console
from devkit.errors import DevkitError, WrongUsage
from devkit.local_canary import CanaryOptions
from devkit.local_canary.options import CanaryRef, CanaryWeights, parse_canary
from devkit.options import DatabaseKind, parse_numbers
from devkit.workspace import find_workspace

__all__ = ["app"]

_BASKETS = 1000
_INTERRUPTED = 130

app = typer.Typer()


class Data(StrEnum):
    """The source of the baskets."""

    SAMPLE = "sample"
    FULL = "full"


@app.command()
def demo(
    baskets: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of baskets. Default: 1,000, or all of them with --data full"
        ),
    ] = None,
    in_flight: Annotated[int, typer.Option(min=1, help="Orders placed concurrently")] = 32,
    at: Annotated[
        list[str] | None,
        typer.Option(
            help="Address of a running platform's service: gateway=http://host:8080, "
            "orders=host:9081 for gRPC, orders=http://host:8081 for metrics. Repeat it for each"
        ),
    ] = None,
    database: Annotated[
        DatabaseKind, typer.Option(help="A SQLite file per service, or a PostgreSQL server")
    ] = DatabaseKind.SQLITE,
    data: Annotated[
        Data,
        typer.Option(help="The shipped sample of 5,000 baskets, or the whole set (downloaded)"),
    ] = Data.SAMPLE,
    replicas: Annotated[
        list[str] | None, typer.Option(help="Number of replicas of a service: inventory=3")
    ] = None,
    canary: CanaryWeights = None,
    canary_ref: CanaryRef = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write figures and laws to this file")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the data folder with databases, stream and logs")
    ] = False,
) -> None:
    """Replay published baskets, then check the conservation laws.

    With --at, the replay uses a running platform; without it, a new one is started and removed.
    """
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise DevkitError(f"--json {json_file}: there is no folder {json_file.parent}")
    if at and (replicas or canary or keep or database is not DatabaseKind.SQLITE):
        raise WrongUsage("--database, --replicas, --canary and --keep cannot be used with --at")
    if not at and find_spec("localservers") is None:
        raise WrongUsage(
            "no platform can be started here, because the package localservers is not installed: "
            "name a running one with --at gateway=http://host:8080, or run slipway demo in a clone"
        )
    numbers = parse_numbers("--replicas", "inventory=3", replicas or ())
    plan = _make_plan(data, baskets, in_flight)
    canaries = parse_canary(canary, canary_ref, None)
    outcome = _run_plan(plan, at or [], database, numbers, canaries, keep)
    if outcome is None:
        raise typer.Exit(_INTERRUPTED)
    if json_file is not None:
        options = {
            "baskets": plan.selection.count,
            "in_flight": in_flight,
            "data": data.value,
            **({"at": at} if at else {"database": database.value, "replicas": numbers}),
            **({"canary": canaries.weights} if canaries else {}),
        }
        _write_json(json_file, as_json(*outcome, options))
    if not all(law.holds for law in outcome[1]):
        raise typer.Exit(1)


def _make_plan(data: Data, baskets: int | None, in_flight: int) -> Plan:
    """Return what to replay: baskets of the sample or of the whole data set."""
    output = console()
    if data is Data.SAMPLE:
        return Plan(from_sample(baskets or _BASKETS), in_flight, output)
    output.print("reading the whole data set")
    cache = find_workspace().state / "downloads"
    return Plan(from_whole_set(baskets, cache), in_flight, output)


def _run_plan(
    plan: Plan,
    at: list[str],
    database: DatabaseKind,
    replicas: dict[str, int],
    canary: CanaryOptions | None,
    keep: bool,
) -> Outcome | None:
    """Replay the plan on the platform `at` these addresses, or on one that is started here."""
    # The demo's image lacks the servers that `run_local` imports, so it is imported only here.
    if at:
        from demo.remote_platform import find_platform
        from demo.run_remote import run_remote

        return run_remote(plan, find_platform(at))
    from demo.run_local import run_local

    return run_local(
        plan,
        find_workspace(),
        database=database,
        replicas=replicas,
        canary=canary,
        keep=keep,
    )


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
