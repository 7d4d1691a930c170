"""Replicas of the accountant as processes that can be stopped, continued and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from bookshop import eventually, is_prepared

__all__ = ["Replica", "Replicas"]

_PROCESS = Path(__file__).parent / "replica_process.py"


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

    def __init__(self) -> None:
        self._starter: subprocess.Popen[str] | None = None
        self._running: list[Replica] = []

    def start(self, url: str, nats_url: str, member: str, **options: Any) -> Replica:
        """Start a replica; `options` are those of replica_process.py."""
        if self._starter is None:
            self._starter = subprocess.Popen(
                [sys.executable, str(_PROCESS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
        assert self._starter.stdin
        assert self._starter.stdout
        line = {"url": url, "prepared": is_prepared(url), "nats_url": nats_url, "member": member}
        self._starter.stdin.write(json.dumps(line | options) + "\n")
        self._starter.stdin.flush()
        replica = Replica(int(self._starter.stdout.readline()), member)
        self._running.append(replica)
        return replica

    def end(self) -> None:
        """Kill the replicas that still run, so that the next test can begin."""
        for replica in self._running:
            if replica.alive:
                replica.send(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(r.alive for r in self._running) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._running.clear()

    def close(self) -> None:
        self.end()
        if self._starter:
            # The process ends when its input ends.
            self._starter.communicate()
