"""`slipway ps`: what runs, seen from another terminal."""

import asyncio
import time

import psutil
import typer
from rich.table import Table

from devkit.console import console
from devkit.readiness import is_ready
from devkit.state import PlatformState, ServiceState, read_state
from devkit.workspace import find_workspace

__all__ = ["ps", "state_table"]


def ps() -> None:
    """Show what runs. Exit code 1 if nothing does, or if something isn't ready."""
    state = read_state(find_workspace().state)
    if state is None or not state.alive:
        typer.echo("nothing runs; `slipway run` starts the platform")
        raise typer.Exit(1)
    table, all_ready = asyncio.run(state_table(state))
    console().print(table)
    raise typer.Exit(0 if all_ready else 1)


async def state_table(state: PlatformState) -> tuple[Table, bool]:
    """A row per process, and whether every service is ready."""
    ready = await asyncio.gather(*(is_ready(service.http_port) for service in state.services))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("service", "state", "http", "grpc"):
        table.add_column(column, no_wrap=True)
    for column in ("up", "memory", "restarts", "process"):
        table.add_column(column, no_wrap=True, justify="right")
    for service, is_service_ready in zip(state.services, ready, strict=True):
        table.add_row(*_service_row(service, is_service_ready))
    for server in state.servers:
        up, memory = _measures(server.pid)
        shown = "[green]running[/green]" if up else "[red]down[/red]"
        table.add_row(server.name, shown, server.url, "", up, memory, "", str(server.pid))
    return table, all(ready)


def _service_row(service: ServiceState, ready: bool) -> tuple[str, ...]:
    up, memory = _measures(service.pid)
    return (
        service.name,
        _state(service.pid, ready),
        f"http://127.0.0.1:{service.http_port}",
        f"127.0.0.1:{service.grpc_port}" if service.grpc_port is not None else "",
        up,
        memory,
        str(service.restarts),
        str(service.pid),
    )


def _state(pid: int, ready: bool) -> str:
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return "[red]down[/red]"
    if status == psutil.STATUS_ZOMBIE:
        return "[red]down[/red]"
    if status == psutil.STATUS_STOPPED:
        return "[yellow]paused[/yellow]"
    return "[green]ready[/green]" if ready else "[yellow]not ready[/yellow]"


def _measures(pid: int) -> tuple[str, str]:
    """How long it has been up, and its resident memory; empty if it is gone."""
    try:
        process = psutil.Process(pid)
        seconds = int(time.time() - process.create_time())
        return _duration(seconds), f"{process.memory_info().rss / 2**20:.0f} MiB"
    except psutil.Error:
        return "", ""


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
