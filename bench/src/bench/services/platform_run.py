"""The platform as `slipway run` starts it, in a folder of its own and on free ports."""

import os
import signal
import subprocess
import sysconfig
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

from bench.meter import OWN, cpu_seconds
from bench.services.resting import resting
from bench.stage import DatabaseKind, Stage
from bench.worker import Sample
from devkit.errors import DevkitError
from devkit.state import PlatformState, read_state
from devkit.workspace import find_workspace

__all__ = ["Running", "rest", "running", "start", "start_demo"]

_START_SECONDS = 180.0


@dataclass(frozen=True)
class Running:
    """A platform that is ready."""

    seconds: float
    """Time from its start until it was ready."""
    cpu: float
    """CPU seconds of all its processes until then."""
    state: PlatformState


@dataclass(frozen=True)
class _Started:
    """The time until all was ready, and the CPU seconds of all processes until then."""

    seconds: float
    cpu: float


def start(stage: Stage) -> Sample:
    """Return the cost of `slipway run`, until all services are ready."""
    with running(stage) as platform:
        return Sample(1, platform.seconds, {OWN: platform.cpu})


def start_demo(stage: Stage) -> Sample:
    """Return the cost of `slipway demo`, until all services are ready."""
    with _started(stage.folder, ["demo", "--baskets", "1"], "ready after ") as started:
        return Sample(1, started.seconds, {OWN: started.cpu})


def rest(stage: Stage) -> Sample:
    """Return the memory and the idle CPU of a service, as the mean of all services."""
    with running(stage) as platform:
        return resting(stage, [service.pid for service in platform.state.services])


@contextmanager
def running(stage: Stage, kind: DatabaseKind = "sqlite") -> Iterator[Running]:
    """Run the platform on this kind of database until the block ends.

    Raises:
        DevkitError: it did not become ready; the message has its output.
    """
    folder = stage.folder / f"platform-{uuid.uuid4().hex[:8]}"
    arguments = ["run", "--free-ports", "--no-watch", "--database", kind]
    with _started(folder, arguments, "ready in ") as started:
        state = read_state(folder)
        assert state is not None
        yield Running(started.seconds, started.cpu, state)


@contextmanager
def _started(folder: Path, arguments: Sequence[str], ready: str) -> Iterator[_Started]:
    """Run a command of `slipway` until the block ends; yield when its output says `ready`."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [Path(sysconfig.get_path("scripts")) / "slipway", *arguments],
        cwd=find_workspace().root,
        env={**os.environ, "SLIPWAY_STATE": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        # Ctrl-C reaches this process alone, which then stops the platform.
        start_new_session=True,
    )
    try:
        _wait_until_ready(process, ready)
        yield _Started(time.perf_counter() - began, cpu_seconds(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[str], ready: str) -> None:
    """Read the output until it says `ready`; a thread reads the rest."""
    lines: Queue[str] = Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    ends_at = time.monotonic() + _START_SECONDS
    seen = ""
    while ready not in seen:
        try:
            line = lines.get(timeout=max(0.0, ends_at - time.monotonic()))
        except Empty:
            line = ""
        if not line:
            raise DevkitError(f"the platform did not become ready:\n{seen[-4000:]}")
        seen += line
