"""Measures a contender's work from its own process: time, and CPU time of it and of the servers."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

__all__ = ["OWN", "Mark", "Meter", "cpu_seconds"]

OWN = "own"
"""The name under which CPU time of the contender's own process is reported."""


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its descendants, ended ones included."""
    process = psutil.Process(pid)
    seconds = 0.0
    for member in (process, *process.children(recursive=True)):
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:  # Its time is in its parent's from now on.
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


@dataclass(frozen=True)
class Mark:
    """A moment of the work: the units done, the time, and CPU times by process."""

    units: int
    at: float
    cpu: Mapping[str, float]


class Meter:
    """The marks of a contender's work. The work between the first and the last one counts.

    Args:
        servers: ids of the servers' processes, by name.
    """

    def __init__(self, servers: Mapping[str, int]) -> None:
        self._servers = servers
        self.marks: list[Mark] = []

    def mark(self, units: int) -> None:
        """Note the moment at which `units` units are done."""
        cpu = {name: cpu_seconds(pid) for name, pid in self._servers.items()}
        self.marks.append(Mark(units, time.perf_counter(), {OWN: time.process_time(), **cpu}))
