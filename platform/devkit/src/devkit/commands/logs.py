"""`slipway logs`: the output of the processes, also after they have ended."""

import signal
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from devkit.console import LinePrinter, console
from devkit.errors import DevkitError, WrongUsage
from devkit.log_order import Log, in_order
from devkit.log_tail import LogTail, current_logs
from devkit.workspace import find_workspace

__all__ = ["choose_logs", "last_lines", "logs"]

_POLL_SECONDS = 0.05


def logs(
    service: Annotated[
        str | None, typer.Argument(help="A service or server. Default: all.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines too.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines of each log.")] = 20,
) -> None:
    """Print the last lines of the services' logs, those of all logs in the order of time."""
    ended = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ended
        ended = True

    if follow:  # A library may swallow a KeyboardInterrupt; a flag stays set.
        signal.signal(signal.SIGINT, end)
        signal.signal(signal.SIGTERM, end)
    chosen = choose_logs(find_workspace().state, service)
    printer = LinePrinter(chosen, console())
    tails = {name: LogTail(file) for name, file in chosen.items()}

    def last(name: str) -> Log:
        # The same LogTail reads old and new lines, so that none is lost or repeated in between.
        file = chosen[name]
        read = deque(tails[name].new_lines(), lines) if follow else last_lines(file, lines)
        return Log(list(read), file.stat().st_mtime)

    def show(logs: Mapping[str, Log]) -> None:
        for name, line in in_order(logs):
            printer.line(name, line)

    show({name: last(name) for name in chosen})
    while follow and not ended:
        show({name: Log(list(tail.new_lines()), time.time()) for name, tail in tails.items()})
        time.sleep(_POLL_SECONDS)


def choose_logs(data: Path, service: str | None) -> Mapping[str, Path]:
    """Return the log files of a data folder by process name; with `service`, those of its replicas.

    `inventory` selects both versions of a service with a canary, `inventory-canary` one of them.

    Raises:
        DevkitError: there are no logs.
        WrongUsage: there are none of `service`.
    """
    files = {file.stem.removesuffix("-0"): file for file in current_logs(data)}
    for server in ("nats", "postgres", "envoy"):
        # Each kind of database has its own folder; the latest log is of the latest run.
        kinds = sorted(data.glob(f"{server}*/{server}.log"), key=lambda log: log.stat().st_mtime)
        if kinds:
            files[server] = kinds[-1]
    if not files:
        raise DevkitError(f"there are no logs in {data}; `slipway run` starts the platform")
    if service is None:
        return {name: file for name, file in files.items() if file.parent.name == "logs"}
    chosen = {name: file for name, file in files.items() if service in (name, *_of_replica(file))}
    if not chosen:
        raise WrongUsage(f"there are no logs of {service}; there are: {', '.join(files)}")
    return chosen


def _of_replica(log: Path) -> tuple[str, str]:
    """Return the names that select the log of a replica: with the track, if any, and without."""
    name = log.stem.rpartition("-")[0]
    return name, name.removesuffix("-stable").removesuffix("-canary")


def last_lines(file: Path, count: int) -> list[str]:
    """Return the last `count` lines of a file."""
    if count == 0:
        return []
    return file.read_text(errors="replace", encoding="utf-8").splitlines()[-count:]
