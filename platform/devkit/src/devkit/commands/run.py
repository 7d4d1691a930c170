"""`slipway run`: the platform in a terminal, until Ctrl-C is pressed."""

import asyncio
import os
import time
from itertools import zip_longest
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from devkit.console import LinePrinter, console
from devkit.errors import DevkitError
from devkit.local_canary.options import CanaryRef, CanaryWeights, parse_canary
from devkit.options import DatabaseKind, parse_numbers
from devkit.platform import Platform, PlatformOptions
from devkit.seeds import plant_seeds
from devkit.service_process import ServiceProcess
from devkit.stop_signals import STOPPING, stop_requested
from devkit.workspace import find_workspace

__all__ = ["address_table", "run"]

_POLL_SECONDS = 0.5


def run(
    replicas: Annotated[
        list[str] | None, typer.Option(help="Number of a service's replicas: inventory=3")
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option("--except", help="Do not run this service; run it in your IDE"),
    ] = None,
    port: Annotated[
        list[str] | None, typer.Option(help="Move a port: orders.http=8181, nats=4333")
    ] = None,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Use free ports instead of the default ports")
    ] = False,
    database: Annotated[
        DatabaseKind, typer.Option(help="An SQLite file per service, or a PostgreSQL")
    ] = DatabaseKind.SQLITE,
    broker_keys: Annotated[
        bool,
        typer.Option("--broker-keys", help="Use a broker key per service, with least privilege"),
    ] = False,
    canary: CanaryWeights = None,
    canary_ref: CanaryRef = None,
    canary_match: Annotated[
        list[str] | None,
        typer.Option(help="Send requests with this header to the canary: end-user=jason"),
    ] = None,
    watch: Annotated[bool, typer.Option(help="Restart a service when its code changes")] = True,
) -> None:
    """Start the platform and run it until Ctrl-C."""
    output = console()
    printer = LinePrinter((), output)
    workspace = find_workspace()
    if not workspace.services:
        raise DevkitError("there are no services to run; CONTRIBUTING.md says how to add one")
    # Services log JSON unless they write to a terminal, but these lines are shown on one.
    readable = {} if "APP_LOG_FORMAT" in os.environ else {"APP_LOG_FORMAT": "console"}
    options = PlatformOptions(
        data=workspace.state,
        replicas=parse_numbers("--replicas", "inventory=3", replicas or ()),
        leave_out=tuple(leave_out or ()),
        ports=parse_numbers("--port", "orders.http=8181", port or ()),
        free_ports=free_ports,
        database="postgres" if database is DatabaseKind.POSTGRES else "sqlite",
        environment=readable,
        broker_keys=broker_keys,
        watch=watch,
        restart_servers=True,
        canary=parse_canary(canary, canary_ref, canary_match),
        on_line=printer.line,
        on_event=printer.event,
        workspace=workspace,
    )
    asyncio.run(_run(Platform(options), output, printer))


async def _run(platform: Platform, output: Console, printer: LinePrinter) -> None:
    """Run the platform until a signal asks it to stop."""
    stopping = stop_requested(platform)
    work = asyncio.create_task(_start(platform, output, printer))
    wait = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((work, wait), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
            await wait
        output.print(STOPPING)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await platform.stop()


async def _start(platform: Platform, output: Console, printer: LinePrinter) -> None:
    """Start the platform, print its addresses, and load example data when it is ready."""
    began = time.monotonic()
    await platform.start()
    printer.expect([*(process.name for process in platform.processes), "nats"])
    output.print(address_table(platform))
    if platform.postgres is not None:
        for name, url in platform.databases_left_out().items():
            output.print(f"{name} is not run here; its database is {url}", markup=False)
    try:
        await platform.wait_ready()
    except DevkitError as error:
        output.print(str(error), markup=False)
        output.print("The other processes stay up; a change of its code restarts a service.")
        while not await platform.is_ready():
            await asyncio.sleep(_POLL_SECONDS)
    output.print(f"[bold]ready in {time.monotonic() - began:.1f} s[/bold]; Ctrl-C stops all")
    try:
        for name in await plant_seeds(platform):
            printer.event("runner", f"loaded {name}")
    except DevkitError as error:
        printer.event("runner", f"not loaded: {error}")
    except Exception as error:  # A seed may raise anything, and the platform must still run.
        printer.event("runner", f"not loaded: {type(error).__name__}: {error}")


def address_table(platform: Platform) -> Table:
    """Return a table of every process with its addresses, which are never cut.

    A service with a canary has an address of its own, at which Envoy splits the requests.
    """
    columns = ["service", "http", "grpc"]
    rows = [[p.name, p.http_url, _grpc_address(p)] for p in platform.processes]
    weights = {canary.service: canary.weight for canary in platform.canaries}
    if weights:
        columns.append("version")
        for row, process in zip(rows, platform.processes, strict=True):
            row.append(process.version)
        rows += [_front_row(platform, service, weight) for service, weight in weights.items()]
    rows.append(["nats", platform.broker.url])
    if platform.postgres is not None:
        rows.append(["postgres", f"127.0.0.1:{platform.postgres.port}"])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column, cells in zip(columns, zip_longest(*rows, fillvalue=""), strict=True):
        table.add_column(column, no_wrap=True, min_width=max(map(len, cells)))
    for row in rows:
        table.add_row(*row)
    return table


def _front_row(platform: Platform, service: str, weight: int) -> list[str]:
    """Return the row of the address at which Envoy splits a service's requests."""
    stable = platform.of(service)[0]
    grpc = platform.grpc_address(service) if stable.grpc_port is not None else ""
    share = f"{weight} % canary, {100 - weight} % {stable.version}"
    return [service, platform.url(service), grpc, share]


def _grpc_address(process: ServiceProcess) -> str:
    return "" if process.grpc_port is None else process.grpc_address
