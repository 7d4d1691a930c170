"""`python -m <service> events record` and `events shadow`: recorded events, and their replay."""

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from chassis.credentials import without_credentials
from chassis.database import ConnectionLost
from chassis.exit_codes import NOTHING, OK, UNAVAILABLE
from chassis.operations.command_line.arguments import Verbs
from chassis.operations.command_line.operator import Operator, WrongUsage
from chassis.operations.command_line.table import counted
from chassis.shadow.recorder import record
from chassis.shadow.recording import (
    BadRecording,
    Recording,
    read_recording,
    recording_lines,
)
from chassis.shadow.replay import Allowed, replay
from chassis.shadow.results import Result

__all__ = ["add_shadow_verbs"]

_EVENTS = 1000
_PROGRESS_SECONDS = 2.0
_POLL_SECONDS = 0.2
_STANDARD_STREAM = "-"


def add_shadow_verbs(verbs: Verbs) -> None:
    """Add the verbs record and shadow."""
    about = "record the last events that the service handles, to replay them"
    recording = verbs.add("record", _record, about, rows=False)
    about = "replay recorded events to this version's handlers; nothing is kept and nothing sent"
    shadowing = verbs.add("shadow", _shadow, about, rows=False)
    for parser in (recording, shadowing):
        parser.add_argument(
            "--events",
            type=int,
            default=_EVENTS,
            metavar="N",
            help=f"how many of the last events (default: {_EVENTS})",
        )
        parser.add_argument(
            "--out",
            default=_STANDARD_STREAM,
            metavar="FILE",
            help="where the lines of JSON are written (default: standard output)",
        )
        parser.add_argument(
            "--wait",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="how long to wait for an unavailable database or broker, and for the recording's"
            " file (default: not at all)",
        )
    shadowing.add_argument(
        "--recording",
        metavar="FILE",
        help="replay this recording instead of the last events; - is standard input",
    )
    shadowing.add_argument(
        "--allow-calls",
        action="append",
        default=[],
        metavar="SERVICE",
        help="let handlers call RPCs of this service that may change something",
    )
    shadowing.add_argument(
        "--allow-handler",
        action="append",
        default=[],
        metavar="NAME",
        help="run this async def handler, which may reach anything outside",
    )


async def _record(operator: Operator) -> int:
    """Write a recording."""
    recording = await _recorded(operator)
    name = operator.arguments.out
    # A shadow that waits for the file must find it whole.
    part = name if name == _STANDARD_STREAM or Path(name).is_char_device() else f"{name}.part"
    with _output(part) as out:
        for line in recording_lines(recording):
            print(line, file=out)
    if part != name:
        Path(part).replace(name)
    return _said(operator, recording, "recorded")


async def _shadow(operator: Operator) -> int:
    """Replay a recording, and write the results."""
    named = operator.arguments.recording
    if named is None:
        recording = await _recorded(operator)
    else:
        await _wait_for_file(named, operator.arguments.wait)
        recording = _read(operator, named)
    stop = threading.Event()
    try:
        await asyncio.to_thread(_replay, operator, recording, stop)
    except asyncio.CancelledError:
        stop.set()
        raise
    except ConnectionLost as error:
        operator.say(without_credentials(str(error)))
        return UNAVAILABLE
    return _said(operator, recording, "replayed")


async def _recorded(operator: Operator) -> Recording:
    """Record the last events, whose number is an argument."""
    count = operator.arguments.events
    if count < 1:
        raise WrongUsage("--events is at least 1")

    async def once() -> Recording:
        async with operator.broker() as client:
            return await record(operator.service, client, operator.database, count, operator.say)

    return await operator.once_available(once)


async def _wait_for_file(name: str, seconds: float) -> None:
    """Wait for at most `seconds` until a file exists."""
    ends_at = time.monotonic() + seconds
    while name != _STANDARD_STREAM and not Path(name).exists() and time.monotonic() < ends_at:
        await asyncio.sleep(_POLL_SECONDS)


def _read(operator: Operator, name: str) -> Recording:
    """Read a recording from a file or from standard input."""
    try:
        if name == _STANDARD_STREAM:
            return read_recording(sys.stdin, operator.service.name)
        with open(name, encoding="utf-8") as file:
            return read_recording(file, operator.service.name)
    except (OSError, UnicodeDecodeError, BadRecording) as error:
        raise WrongUsage(f"the recording {name} cannot be read: {error}") from error


def _replay(operator: Operator, recording: Recording, stop: threading.Event) -> None:
    """Write each result, and how far the replay has come, until `stop` is set."""
    arguments = operator.arguments
    allowed = Allowed(arguments.allow_calls, arguments.allow_handler)
    outcomes: Counter[str] = Counter()
    places: set[str] = set()
    say_at = time.monotonic() + _PROGRESS_SECONDS
    with _output(arguments.out) as out:
        for result in replay(operator.service, operator.settings, recording, allowed):
            if stop.is_set():
                return
            # A log that merges standard error into standard output keeps whole lines.
            print(result.to_line(), file=out, flush=arguments.out == _STANDARD_STREAM)
            if not isinstance(result, Result):
                continue
            outcomes[result.outcome] += 1
            places.add(result.place)
            if time.monotonic() >= say_at:
                say_at = time.monotonic() + _PROGRESS_SECONDS
                operator.say(f"{len(places):,} of {counted(len(recording.events), 'event')}")
    operator.say(", ".join(f"{outcome}: {number:,}" for outcome, number in outcomes.items()))


@contextmanager
def _output(name: str) -> Iterator[TextIO]:
    """Open a file to write, or standard output."""
    if name == _STANDARD_STREAM:
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        file = open(name, "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise WrongUsage(f"{name} cannot be written: {error}") from error
    with file:
        yield file


def _said(operator: Operator, recording: Recording, done: str) -> int:
    """Say how many events there were; return the exit code."""
    number = len(recording.events)
    if not number:
        operator.say("no stream holds an event that this version handles")
        return NOTHING
    operator.say(f"{done} {counted(number, 'event')} of {operator.service.name}")
    return OK
