"""`slipway ps`: the processes of the platform that runs in another terminal."""

import asyncio
import time
from urllib.parse import urlsplit

import psutil
import typer
from rich.table import Table

from devkit.commands.canary_table import canary_table
from devkit.console import console
from devkit.readiness import Answer, get_readiness
from devkit.state import PlatformState, ServiceState, read_state
from devkit.workspace import find_workspace

__all__ = ["ps", "state_table"]

_READY = "[green]ready[/green]"
_NOT_READY = "[yellow]not ready[/yellow]"
_RUNNING = "[green]running[/green]"
_PAUSED = "[yellow]paused[/yellow]"
_DOWN = "[red]down[/red]"
_PORT_WIDTH = 5


def ps() -> None:
    """Show the running processes. Exit with 1 unless all of them are ready."""
    state = read_state(find_workspace().state)
    if state is None or not state.alive:
        typer.echo("nothing runs; `slipway run` starts the platform")
        raise typer.Exit(1)
    table, all_well = asyncio.run(state_table(state))
    output = console()
    output.print(table)
    if state.canaries:
        output.print()
        output.print(asyncio.run(canary_table(state)))
    raise typer.Exit(0 if all_well else 1)


async def state_table(state: PlatformState) -> tuple[Table, bool]:
    """Return a table with a row per process, and whether all services are ready and servers up."""
    answers = await asyncio.gather(
        *(get_readiness(service.http_port) for service in state.services)
    )
    # With one space between columns, all of them fit into a terminal of 80 characters.
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    names = [process.name for process in state.services]
    names += [server.name for server in state.servers]
    # Columns with a minimum width are cut last on a narrow terminal.
    table.add_column("service", no_wrap=True, min_width=max(map(len, names), default=0))
    table.add_column("state", no_wrap=True)
    for column in ("port", "grpc"):
        table.add_column(column, no_wrap=True, min_width=_PORT_WIDTH)
    for column in ("dead", "stopped", "up", "memory", "restarts", "process"):
        table.add_column(column, no_wrap=True, justify="right")
    states = []
    for service, answer in zip(state.services, answers, strict=True):
        states.append(_state(service.pid, _READY if answer.ready else _NOT_READY))
        table.add_row(*_service_row(service, states[-1], answer))
    for server in state.servers:
        states.append(_state(server.pid, _RUNNING))
        port = str(urlsplit(server.url).port)
        table.add_row(
            server.name, states[-1], port, "", "", "", *_measures(server.pid), "", str(server.pid)
        )
    # Paused types are rare, and a column for them would not fit into 80 characters.
    paused = {
        service.service: answer.paused_types
        for service, answer in zip(state.services, answers, strict=True)
        if answer.paused_types
    }
    lines = [f"paused in {name}: {', '.join(types)}" for name, types in paused.items()]
    table.caption = "\n".join(lines) or None
    table.caption_justify = "left"
    return table, all(shown in (_READY, _RUNNING) for shown in states)


def _service_row(service: ServiceState, state: str, answer: Answer) -> tuple[str, ...]:
    """Return the cells of a running service."""
    stopped = answer.stopped_lanes
    return (
        service.name,
        state,
        str(service.http_port),
        str(service.grpc_port) if service.grpc_port is not None else "",
        _count(answer.dead_letters),
        _count(None if stopped is None else len(stopped)),
        *_measures(service.pid),
        str(service.restarts),
        str(service.pid),
    )


def _count(number: int | None) -> str:
    """Format a number of things that wait for an operator: red unless 0, empty if unknown."""
    if number is None:
        return ""
    return f"[red]{number}[/red]" if number else "0"


def _state(pid: int, alive: str) -> str:
    """Return the state of a process: down, paused, or as `alive` says."""
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return _DOWN
    if status == psutil.STATUS_ZOMBIE:
        return _DOWN
    return _PAUSED if status == psutil.STATUS_STOPPED else alive


def _measures(pid: int) -> tuple[str, str]:
    """Return a process's time since its start and its memory; empty strings if it has ended."""
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
