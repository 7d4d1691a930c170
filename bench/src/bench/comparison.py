"""A comparison: contenders that do the same work, and the targets of the platform among them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from bench.worker import Sample

if TYPE_CHECKING:
    from bench.stage import Stage

__all__ = ["Comparison", "Contender", "Figure", "Role", "Target"]


class Role(Enum):
    """The reason for which a contender is measured."""

    PEER = "peer"
    FLOOR = "floor"
    OURS = "ours"


class Figure(Enum):
    """A figure of a sample. The value is its name in the results."""

    CPU = "cpu"
    """Microseconds of CPU for a unit of work, of all processes."""
    OWN = "own"
    """The same of the contender's own process only, without the servers."""
    RATE = "rate"
    """Units of work in a second."""
    SHARED = "rate_by_shares"
    """The rate if each process of a contender gets the same fixed share of a processor."""
    MEMORY = "memory_mib"
    """Memory of a process by proportional share, in MiB."""
    IDLE = "idle_percent"
    """CPU of a process that has nothing to do, in percent of a processor."""

    ACCEPTED = "accepted_p50_ms"
    """Median time from a request to its answer, in milliseconds."""
    CONFIRMED = "confirmed_p50_ms"
    """Median time from a request to the end of its work, in milliseconds."""
    CONFIRMED_95 = "confirmed_p95_ms"
    CONFIRMED_99 = "confirmed_p99_ms"

    @property
    def title(self) -> str:
        """The figure in words."""
        return _TITLES[self]

    def show(self, value: float) -> str:
        """Return a value of the figure with its unit."""
        match self:
            case Figure.RATE | Figure.SHARED:
                return f"{_number(value)}/s"
            case Figure.MEMORY:
                return f"{value:.1f} MiB"
            case Figure.IDLE:
                return f"{value:.2f} %"
            case Figure.CPU | Figure.OWN:
                return _microseconds(value)
            case _:
                return f"{_number(value)} ms"


_TITLES = {
    Figure.CPU: "CPU",
    Figure.OWN: "own process",
    Figure.RATE: "rate",
    Figure.SHARED: "rate by shares",
    Figure.MEMORY: "memory",
    Figure.IDLE: "idle CPU",
    Figure.ACCEPTED: "POST p50",
    Figure.CONFIRMED: "confirmed p50",
    Figure.CONFIRMED_95: "p95",
    Figure.CONFIRMED_99: "p99",
}


def _microseconds(value: float) -> str:
    if value < 10_000:
        return f"{_number(value)} µs"
    return f"{value / 1000:.1f} ms" if value < 1e6 else f"{value / 1e6:.2f} s"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


@dataclass(frozen=True)
class Contender:
    """One way to do the work; `run` does it once."""

    name: str
    role: Role
    run: "Callable[[Stage], Sample]"
    by_peers: bool = False
    """Whether it runs in the environment of other libraries, which `make bench` installs."""


@dataclass(frozen=True)
class Target:
    """The ratio that the platform must reach.

    It is the figure of `against` in that of `ours`: 2 stands for half of the cost. With `at_most`
    it is the reverse: 2 stands for twice the cost. Without `against` it is the figure of `ours`.
    """

    work: str
    ours: str
    against: str | None
    reach: float
    floor: str | None = None
    """The contender that shows what is possible at best."""
    at_most: bool = False
    figure: Figure = Figure.CPU
    headline: str = ""
    """The work in the words of README.md, which shows only targets that have some."""

    def show(self, value: float) -> str:
        """Return a value that is compared with `reach`."""
        if self.against is None:
            return self.figure.show(value)
        return f"{value:.2f}" if value < 10 else f"{value:.1f}"


@dataclass(frozen=True)
class Comparison:
    """Contenders that do the same work, measured in turn in each round."""

    name: str
    title: str
    unit: str
    contenders: Sequence[Contender]
    targets: Sequence[Target]
    prepare: "Callable[[Stage], None]" = lambda _stage: None
    """Makes what the contenders share, such as a filled stream, before the first round."""
    caveats: str = ""
    figures: Sequence[Figure] = (Figure.CPU, Figure.OWN, Figure.RATE)
    """The figures of each contender that are shown."""
