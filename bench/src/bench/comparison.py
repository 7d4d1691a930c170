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

    It is the CPU of `against` in that of `ours`: 2 stands for half of the cost. With `at_most` it
    is the reverse: 2 stands for twice the cost.
    """

    work: str
    ours: str
    against: str
    reach: float
    floor: str | None = None
    """The contender that shows what is possible at best."""
    at_most: bool = False


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
