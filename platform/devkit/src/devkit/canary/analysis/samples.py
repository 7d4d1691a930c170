"""Samples of metrics, as both sides of a canary had them at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Pod", "Readings", "Samples", "Series"]


class Series(NamedTuple):
    """The name and the labels of a sample, such as `events_handled_total` with a type."""

    name: str
    labels: frozenset[tuple[str, str]] = frozenset()


Samples = Mapping[Series, float]
"""All values that a process reports at one moment."""


@dataclass(frozen=True)
class Pod:
    """A pod, or a process without Kubernetes, at one moment.

    Args:
        samples: the values of its metrics.
        restarts: how often its container has been restarted since the pod was created.
    """

    samples: Samples = field(default_factory=dict)
    restarts: int = 0


@dataclass(frozen=True)
class Readings:
    """The pods of both sides at one moment, by their names.

    Args:
        at: the time of the reading, in epoch seconds.
        stable: the pods of the track stable that answered.
        canary: the pods of the track canary that answered.
    """

    at: float
    stable: Mapping[str, Pod]
    canary: Mapping[str, Pod]
