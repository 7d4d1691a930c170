"""Replicas of the accountant as processes that can be stopped, continued and killed."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
from bookshop import eventually, is_prepared
from forked_python import start_module

__all__ = ["Replica", "Replicas"]

_PARTS = Path(__file__).parent
_PATHS = os.pathsep.join([str(_PARTS), str(_PARTS.parent / "contracts")])


class Replica:
    """A replica in a process of its own."""

    def __init__(self, pid: int, member: str) -> None:
        self.pid = pid
        self.member = member

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def stopped(self) -> bool:
        """Whether the process is stopped by SIGSTOP."""
        return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    @property
    def alive(self) -> bool:
        return psutil.pid_exists(self.pid)

    async def is_stopped(self) -> None:
        """Wait until the process is stopped by SIGSTOP."""

        async def holds() -> bool:
            return self.stopped

        await eventually(holds)

    async def is_gone(self) -> None:
        """Wait until the process has ended."""

        async def holds() -> bool:
            return not self.alive

        await eventually(holds)


class Replicas:
    """Starts replicas. They end with this process, or by `end`."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._running: list[Replica] = []

    def start(self, url: str, nats_url: str, member: str, **options: Any) -> Replica:
        """Start a replica; `options` are those of replica_process.py."""
        given = {"url": url, "prepared": is_prepared(url), "nats_url": nats_url, "member": member}
        process = start_module(
            "replica_process",
            json.dumps(given | options),
            environment=os.environ | {"PYTHONPATH": _PATHS},
            stdout=self._output,
        )
        assert process.pid is not None
        replica = Replica(process.pid, member)
        self._running.append(replica)
        return replica

    def end(self) -> None:
        """Kill the replicas that still run, and print what all have written."""
        for replica in self._running:
            if replica.alive:
                replica.send(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(r.alive for r in self._running) and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._output.exists():
            print(self._output.read_text(encoding="utf-8"))
