"""`slipway logs`: what the processes wrote, also after they have ended."""

import signal
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from devkit.console import LinePrinter, console
from devkit.errors import DevkitError
from devkit.log_tail import LogTail, current_logs
from devkit.workspace import find_workspace

__all__ = ["choose_logs", "last_lines", "logs"]

_POLL_SECONDS = 0.05


def logs(
    service: Annotated[str | None, typer.Argument(help="Only this one; all by default.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is new.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of each.")] = 20,
) -> None:
    """Show what the services, or one of them, have written."""
    ended = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ended
        ended = True

    if follow:  # a KeyboardInterrupt may be raised where nobody passes it on, a flag stays set
        signal.signal(signal.SIGINT, end)
        signal.signal(signal.SIGTERM, end)
    chosen = choose_logs(find_workspace().state, service)
    printer = LinePrinter(chosen, console())
    tails = {name: LogTail(file) for name, file in chosen.items()}
    for name, file in chosen.items():
        # To go on after the very line that was shown last, both are read by the same hand.
        read = deque(tails[name].new_lines(), lines) if follow else last_lines(file, lines)
        for line in read:
            printer.line(name, line)
    while follow and not ended:
        for name, tail in tails.items():
            for line in tail.new_lines():
                printer.line(name, line)
        time.sleep(_POLL_SECONDS)


def choose_logs(data: Path, service: str | None) -> Mapping[str, Path]:
    """The log files of a data folder by the name of who wrote them, all replicas of a service.

    Raises DevkitError if there are none, or none of `service`.
    """
    files = {file.stem.removesuffix("-0"): file for file in current_logs(data)}
    for server in ("nats", "postgres"):
        # Each kind of database has a folder of its own: the last one that was written to.
        kinds = sorted(data.glob(f"{server}*/{server}.log"), key=lambda log: log.stat().st_mtime)
        if kinds:
            files[server] = kinds[-1]
    if not files:
        raise DevkitError(f"there are no logs in {data}; `slipway run` starts the platform")
    if service is None:
        return {name: file for name, file in files.items() if file.parent.name == "logs"}
    chosen = {
        name: file
        for name, file in files.items()
        if name == service or file.stem.rpartition("-")[0] == service
    }
    if not chosen:
        raise DevkitError(f"there are no logs of {service}; there are: {', '.join(files)}")
    return chosen


def last_lines(file: Path, count: int) -> list[str]:
    """The end of a log file."""
    if count == 0:
        return []
    return file.read_text(errors="replace", encoding="utf-8").splitlines()[-count:]
