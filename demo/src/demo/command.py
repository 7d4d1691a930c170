"""`slipway demo`: published baskets on a whole platform, and whether every law holds."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from demo.catalog import from_sample, from_whole_set
from demo.plan import Outcome, Plan
from demo.summary import as_json
from devkit.console import console
from devkit.errors import DevkitError, WrongUsage
from devkit.options import DatabaseKind, parse_numbers
from devkit.workspace import find_workspace

__all__ = ["app"]

_BASKETS = 1000
_INTERRUPTED = 130

app = typer.Typer()


class Data(StrEnum):
    """Which baskets there are to take."""

    SAMPLE = "sample"
    FULL = "full"


@app.command()
def demo(
    baskets: Annotated[
        int | None, typer.Option(min=1, help="How many; 1,000, or all of --data full")
    ] = None,
    in_flight: Annotated[int, typer.Option(min=1, help="Orders placed at the same moment")] = 32,
    at: Annotated[
        list[str] | None,
        typer.Option(
            help="A platform that runs already: gateway=http://host:8080, orders=host:9081 and so "
            "on for gRPC, orders=http://host:8081 for metrics"
        ),
    ] = None,
    database: Annotated[
        DatabaseKind, typer.Option(help="One file per service, or a PostgreSQL")
    ] = DatabaseKind.SQLITE,
    data: Annotated[
        Data, typer.Option(help="The shipped sample of 5,000, or the whole set (downloaded)")
    ] = Data.SAMPLE,
    replicas: Annotated[
        list[str] | None, typer.Option(help="How many of a service: inventory=3")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures and laws to this file")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the data folder: databases, stream, logs")
    ] = False,
) -> None:
    """Replay published baskets, then check the conservation laws.

    Without --at on a platform of its own, with --at on one that runs already.
    """
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise DevkitError(f"--json {json_file}: there is no folder {json_file.parent}")
    if at and (replicas or keep or database is not DatabaseKind.SQLITE):
        raise WrongUsage("--database, --replicas and --keep are for a platform without --at")
    many = parse_numbers("--replicas", "inventory=3", replicas or ())
    plan = _plan(data, baskets, in_flight)
    outcome = _run(plan, at or [], database, many, keep)
    if outcome is None:
        raise typer.Exit(_INTERRUPTED)
    if json_file is not None:
        asked = {
            "baskets": plan.selection.count,
            "in_flight": in_flight,
            "data": data.value,
            **({"at": at} if at else {"database": database.value, "replicas": many}),
        }
        _write(json_file, as_json(*outcome, asked))
    if not all(law.holds for law in outcome[1]):
        raise typer.Exit(1)


def _plan(data: Data, baskets: int | None, in_flight: int) -> Plan:
    output = console()
    if data is Data.SAMPLE:
        return Plan(from_sample(baskets or _BASKETS), in_flight, output)
    output.print("reading the whole data set")
    cache = find_workspace().state / "downloads"
    return Plan(from_whole_set(baskets, cache), in_flight, output)


def _run(
    plan: Plan, at: list[str], database: DatabaseKind, replicas: dict[str, int], keep: bool
) -> Outcome | None:
    # Where the platform runs already, nothing is installed that could run one.
    if at:
        from demo.elsewhere import find_platform
        from demo.run_elsewhere import run_elsewhere

        return run_elsewhere(plan, find_platform(at))
    from demo.run_here import run_here

    return run_here(plan, find_workspace(), database=database, replicas=replicas, keep=keep)


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
