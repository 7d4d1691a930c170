"""The process of a contender: it gets its work as JSON, and prints what the work has cost.

Contenders run in two environments, so this module imports nothing of the platform.
"""

import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from bench.meter import Meter

__all__ = ["Check", "Sample", "Work", "run"]

Check = dict[str, Any]
"""Facts of the work's result, which are compared with what the work must have done."""


@dataclass(frozen=True)
class Work:
    """The work of a contender."""

    variant: str = ""
    """The variant of the contender, if its file has several."""
    orders: str = ""
    """The file of orders, with a JSON object in each line."""
    count: int = 0
    """Number of units of work."""
    warm: int = 0
    """Number of units before the measurement begins; `count` includes them. With 0 it begins when
    the process does."""
    nats: str = ""
    database: str = ""
    relays: bool = False
    """Whether published events are relayed to the broker, too."""
    address: str = ""
    subjects: list[str] = field(default_factory=list)
    """The subjects of the events that end a unit of work."""
    around: dict[str, int] = field(default_factory=dict)
    """Numbers of what surrounds the work, such as of the tasks that wait, by name."""
    servers: dict[str, int] = field(default_factory=dict)
    """Ids of the servers' processes, whose CPU time counts."""

    def read_orders(self) -> list[dict[str, Any]]:
        """Return the orders, each in the form of the contract's OrderPlaced in JSON."""
        with Path(self.orders).open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Sample:
    """The cost of a contender's work in one round."""

    units: int
    seconds: float
    cpu: dict[str, float]
    """CPU seconds by process."""
    check: Check = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    """Further figures, such as latencies."""

    @classmethod
    def of(cls, meter: Meter, check: Check) -> "Sample":
        """Return the cost between the first and the last mark."""
        first, last = meter.marks[0], meter.marks[-1]
        cpu = {name: last.cpu[name] - first.cpu[name] for name in first.cpu}
        return cls(last.units - first.units, last.at - first.at, cpu, check)


def run(contender: Callable[[Work, Meter], Coroutine[Any, Any, Check]]) -> None:
    """Run the contender on the work in the first argument, and print its sample."""
    work = Work(**json.loads(sys.argv[1]))
    meter = Meter(work.servers)
    if not work.warm:
        meter.mark(0)
    check = uvloop.run(contender(work, meter))
    print(json.dumps(asdict(Sample.of(meter, check))))
