"""`slipway demo`: the whole platform on published baskets, and whether every law holds."""

import asyncio
import json
import shutil
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import typer
from rich.console import Console

from demo.catalog import Selection, from_sample, from_whole_set
from demo.laws import Law, check
from demo.ledgers import read_ledgers
from demo.measurements import read_event_counts, read_memory
from demo.progress import step
from demo.replay import Record, replay
from demo.seed import load_products
from demo.settle import NotEnded, Open, wait_ended
from demo.summary import Summary, Timing, as_json, render, summarize
from devkit.console import console
from devkit.errors import DevkitError
from devkit.platform import Platform, PlatformOptions
from devkit.run_command import DatabaseKind, parse_numbers
from devkit.stop_signals import STOPPING, stop_requested
from devkit.workspace import find_workspace

__all__ = ["app"]

_BASKETS = 1000
_READY_SECONDS = 120.0
_INTERRUPTED = 130

app = typer.Typer()


class Data(StrEnum):
    """Which baskets there are to take."""

    SAMPLE = "sample"
    FULL = "full"


@dataclass(frozen=True)
class _Plan:
    """What was asked for."""

    selection: Selection
    in_flight: int
    output: Console


@app.command()
def demo(
    baskets: Annotated[
        int | None, typer.Option(min=1, help="How many; 1,000, or all of --data full")
    ] = None,
    in_flight: Annotated[int, typer.Option(min=1, help="Orders placed at the same moment")] = 32,
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
    """Replay published baskets on a platform of its own, then check the conservation laws."""
    output = console()
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise DevkitError(f"--json {json_file}: there is no folder {json_file.parent}")
    workspace = find_workspace()
    if data is Data.FULL:
        output.print("reading the whole data set")
        selection = from_whole_set(baskets, workspace.state / "downloads")
    else:
        selection = from_sample(baskets or _BASKETS)
    many = parse_numbers("--replicas", "inventory=3", replicas or ())
    folder = Path(mkdtemp(prefix="slipway-demo-"))
    platform = Platform(
        PlatformOptions(
            data=folder,
            replicas=many,
            free_ports=True,
            database="postgres" if database is DatabaseKind.POSTGRES else "sqlite",
            restart_servers=True,
            on_event=lambda name, what: output.print(f"{name}: {what}", markup=False),
            workspace=workspace,
        )
    )
    kept: bool | None = None
    try:
        run = asyncio.run(_until_signal(platform, _Plan(selection, in_flight, output)))
        if run is not None and json_file is not None:
            asked = {
                "baskets": selection.count,
                "in_flight": in_flight,
                "database": database.value,
                "data": data.value,
                "replicas": many,
            }
            json_file.write_text(
                json.dumps(as_json(*run, asked), indent=2) + "\n", encoding="utf-8"
            )
        holds = run is None or all(law.holds for law in run[1])
        kept = keep or not holds
    finally:
        if kept is None:  # it failed, and if anything ran its logs may say why
            kept = bool(platform.processes)
        if kept:
            output.print(f"data and logs are kept in {folder}", markup=False)
        else:
            _remove(platform, folder)
    if run is None:
        raise typer.Exit(_INTERRUPTED)
    if not holds:
        raise typer.Exit(1)


async def _until_signal(platform: Platform, plan: _Plan) -> tuple[Summary, list[Law]] | None:
    """Run it, and stop everything whatever happens. None if a signal came first."""
    stopping = stop_requested(platform)
    run = asyncio.create_task(_run(platform, plan))
    wait = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((run, wait), return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            return run.result()
        plan.output.print(STOPPING)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        return None
    finally:
        wait.cancel()
        await platform.stop()


async def _run(platform: Platform, plan: _Plan) -> tuple[Summary, list[Law]]:
    output, selection = plan.output, plan.selection
    began = time.perf_counter()
    await platform.start()
    count = len(platform.processes)
    output.print(f"starting {count} processes of {len(_services(platform))} services")
    await _wait_ready(platform, output)
    ready = time.perf_counter() - began
    await load_products(platform.of("inventory")[0].grpc_address, selection.catalog)
    output.print(
        f"ready after {ready:.1f} s; replaying {selection.count:,} Complete Journey baskets, "
        f"{plan.in_flight} in flight"
    )
    began = time.perf_counter()
    with step(output, "placed", selection.count) as placed:
        record = await replay(
            [gateway.http_url for gateway in platform.of("gateway")],
            selection.baskets(),
            plan.in_flight,
            lambda record: placed(len(record.placed) + len(record.refused)),
        )
    await _wait_ended(platform, record, output)
    ending = time.perf_counter() - began
    ledgers = await read_ledgers(platform)
    summary = summarize(
        record,
        ledgers,
        timing=Timing(ready=ready, placing=record.seconds, ending=ending),
        events=await read_event_counts(platform),
        memory=read_memory(platform),
        restarts={p.name: p.restarts for p in platform.processes if p.restarts},
    )
    laws = check(record, ledgers, selection.catalog)
    output.print()
    for line in render(summary, laws, output.width):
        output.print(line)
    return summary, laws


async def _wait_ready(platform: Platform, output: Console) -> None:
    waits_for = [process.name for process in platform.processes]
    count = len(waits_for)
    with step(output, "ready", count) as ready:

        def show(name: str) -> None:
            waits_for.remove(name)
            ready(count - len(waits_for), f"waits for {', '.join(waits_for)}" if waits_for else "")

        await platform.wait_ready(_READY_SECONDS, show)


async def _wait_ended(platform: Platform, record: Record, output: Console) -> None:
    pending = count = len(record.placed)
    with step(output, "ended", count) as ended:

        def show(now: Open) -> None:
            nonlocal pending
            if now.orders is not None:
                pending = now.orders
            ended(count - pending, "; ".join(now.what))

        try:
            await wait_ended(platform, show)
        except NotEnded as error:  # the laws say what is wrong with it
            output.print(str(error), markup=False, style="red")


def _services(platform: Platform) -> set[str]:
    return {process.service for process in platform.processes}


def _remove(platform: Platform, folder: Path) -> None:
    if platform.postgres is not None:  # some of its files may be elsewhere
        platform.postgres.erase()
    shutil.rmtree(folder, ignore_errors=True)
