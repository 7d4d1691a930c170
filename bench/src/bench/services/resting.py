"""The memory and the CPU time of processes that have nothing to do."""

import time
from collections.abc import Sequence

import psutil

from bench.comparison import Figure
from bench.processes import check_alive
from bench.stage import Stage
from bench.worker import Sample

__all__ = ["resting"]

_SETTLE_SECONDS = 8.0
_IDLE_SECONDS = 30.0


def resting(stage: Stage, pids: Sequence[int]) -> Sample:
    """Return memory and idle CPU of a process, as the mean of these processes.

    Memory is counted by proportional share: a page that several processes share is divided among
    them.

    Raises:
        DevkitError: one of them has ended.
    """
    processes = [psutil.Process(pid) for pid in pids]
    time.sleep(0 if stage.tiny else _SETTLE_SECONDS)
    memory = sum(_shared_bytes(process) for process in processes)
    began, before = time.perf_counter(), sum(map(_seconds, processes))
    time.sleep(0.1 if stage.tiny else _IDLE_SECONDS)
    seconds = time.perf_counter() - began
    # A process that has ended, and whose parent has not noticed, still has figures.
    check_alive({f"process {n}": pid for n, pid in enumerate(pids, 1)})
    busy = sum(map(_seconds, processes)) - before
    figures = {
        Figure.MEMORY.value: memory / len(processes) / 2**20,
        Figure.IDLE.value: 100 * busy / seconds / len(processes),
    }
    return Sample(1, seconds, {}, figures=figures)


def _shared_bytes(process: psutil.Process) -> int:
    """Return the process's memory by proportional share; all of it where that is unknown."""
    memory = process.memory_full_info()
    size: int = getattr(memory, "pss", memory.rss)
    return size


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    seconds: float = times.user + times.system
    return seconds
