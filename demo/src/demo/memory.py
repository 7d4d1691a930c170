"""The memory of the processes on this machine."""

from collections import defaultdict
from collections.abc import Iterator

import psutil

from demo.measurements import Memory
from devkit.platform import Platform

__all__ = ["read_memory"]


def read_memory(platform: Platform) -> dict[str, Memory]:
    """Return the memory of each service and server, by name."""
    pids: dict[str, list[int]] = defaultdict(list)
    for process in platform.processes:
        pids[process.service].append(process.pid)
    pids["nats"].append(platform.broker.pid)
    if platform.postgres is not None:
        pids["postgres"].append(platform.postgres.pid)
    return {name: _sum_memory(group) for name, group in pids.items()}


def _sum_memory(pids: list[int]) -> Memory:
    """Return the memory of processes and of their children."""
    pss, rss = 0, 0
    known = True
    for process in _with_children(pids):
        try:
            memory = process.memory_full_info()
        except psutil.Error:
            continue
        rss += memory.rss
        pss += getattr(memory, "pss", 0)
        known = known and hasattr(memory, "pss")
    return Memory(pss if known else None, rss)


def _with_children(pids: list[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        try:
            process = psutil.Process(pid)
            yield from (process, *process.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
