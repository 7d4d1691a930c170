"""The platform as `slipway run` starts it, in a folder of its own and on free ports."""

import os
import signal
import subprocess
import sysconfig
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

from bench.meter import OWN, cpu_seconds
from bench.services.resting import resting
from bench.stage import Stage
from bench.worker import Sample
from devkit.errors import DevkitError
from devkit.state import PlatformState, read_state
from devkit.workspace import find_workspace

__all__ = ["Running", "rest", "running", "start"]

_READY = "ready in "
_START_SECONDS = 180.0


@dataclass(frozen=True)
class Running:
    """A platform that is ready."""

    seconds: float
    """Time from its start until it was ready."""
    cpu: float
    """CPU seconds of all its processes until then."""
    state: PlatformState


def start(stage: Stage) -> Sample:
    """Return the cost of a start, until all services are ready."""
    with running(stage) as platform:
        return Sample(1, platform.seconds, {OWN: platform.cpu})


def rest(stage: Stage) -> Sample:
    """Return the memory and the idle CPU of a service, as the mean of all services."""
    with running(stage) as platform:
        return resting(stage, [service.pid for service in platform.state.services])


@contextmanager
def running(stage: Stage) -> Iterator[Running]:
    """Run the platform until the block ends.

    Raises:
        DevkitError: it did not become ready; the message has its output.
    """
    folder = stage.folder / f"platform-{uuid.uuid4().hex[:8]}"
    began = time.perf_counter()
    process = subprocess.Popen(
        [Path(sysconfig.get_path("scripts")) / "slipway", "run", "--free-ports", "--no-watch"],
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
        _wait_until_ready(process)
        seconds, cpu = time.perf_counter() - began, cpu_seconds(process.pid)
        state = read_state(folder)
        assert state is not None
        yield Running(seconds, cpu, state)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    """Read the output until it says that all is ready; a thread reads the rest."""
    lines: Queue[str] = Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    ends_at = time.monotonic() + _START_SECONDS
    seen = ""
    while _READY not in seen:
        try:
            line = lines.get(timeout=max(0.0, ends_at - time.monotonic()))
        except Empty:
            line = ""
        if not line:
            raise DevkitError(f"the platform did not become ready:\n{seen[-4000:]}")
        seen += line
