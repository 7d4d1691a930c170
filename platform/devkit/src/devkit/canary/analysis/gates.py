"""The table of gates: each figure of a canary that is compared with stable's, named once.

Documentation, both sources of metrics, and the templates for Flagger and Argo Rollouts derive from
it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from devkit.canary.analysis.increase import START_TIME
from devkit.canary.analysis.selectors import Matcher, Selector

__all__ = [
    "GATES",
    "DistanceGate",
    "Gate",
    "LagGate",
    "Margin",
    "RestartGate",
    "ShareGate",
    "metric_names",
]


@dataclass(frozen=True)
class Margin:
    """Differences of shares, 0.02 for two of a hundred.

    Args:
        least: the smallest observed difference that aborts, however significant a smaller one is.
        matters: the difference that the traffic must have been able to show before a step is taken.
    """

    least: float
    matters: float


@dataclass(frozen=True)
class ShareGate:
    """A gate that compares two shares: of all requests, those that failed.

    Args:
        name: the figure, as tables and documents call it.
        bad: the counters of what should be rare.
        of: the counters of all, the bad ones included.
        by: the labels that tell kinds of requests or events apart; each kind is compared, too.
        unit: what is counted.
        margin: the differences of the shares that abort, and that must have been seen.
        either: whether a smaller share of the canary is a difference, too.
    """

    name: str
    bad: tuple[Selector, ...]
    of: tuple[Selector, ...]
    by: tuple[str, ...]
    unit: str
    margin: Margin
    either: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics as Prometheus stores them."""
        return tuple(dict.fromkeys(selector.name for selector in (*self.bad, *self.of)))


@dataclass(frozen=True)
class DistanceGate:
    """A gate that compares two distributions of a histogram.

    Args:
        name: the figure, as tables and documents call it.
        histogram: the histogram, without the suffix `_bucket`.
        by: the labels that tell kinds of requests or events apart; each kind is compared, too.
        unit: what is observed once each.
        margin: the distances of the distributions that abort, and that must have been seen.
        either: whether the distance counts in both directions. If not, the canary's values are
            compared with stable's at the bucket's next bound, so that a canary is worse only if
            that share of its values is larger by the factor between two bounds, about 2.
        seconds: whether its values are seconds.
    """

    name: str
    histogram: Selector
    by: tuple[str, ...]
    unit: str
    margin: Margin
    either: bool = False
    seconds: bool = True

    @property
    def buckets(self) -> Selector:
        """The counters of the histogram's buckets."""
        return Selector(f"{self.histogram.name}_bucket", self.histogram.matchers)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics as Prometheus stores them."""
        return (self.buckets.name,)


@dataclass(frozen=True)
class LagGate:
    """A gate that compares the events that wait in a lane, on average over a side's lanes.

    Args:
        name: the figure, as tables and documents call it.
        lag: the gauge of the events that wait in a pod's lanes.
        lanes: the gauge of the lanes that a pod reads.
        factor: the canary's lag per lane may be this multiple of stable's,
        allowed: and additionally this number of events.
    """

    name: str
    lag: Selector
    lanes: Selector
    factor: float
    allowed: float

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics as Prometheus stores them."""
        return (self.lag.name, self.lanes.name)


@dataclass(frozen=True)
class RestartGate:
    """A gate that counts restarts of the canary's containers.

    Args:
        name: the figure, as tables and documents call it.
        allowed: the restarts that do not abort. A single one may be the node's fault; a version
            that crashes does it again within a minute.
    """

    name: str
    allowed: int

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics as Prometheus stores them."""
        return (START_TIME.name,)


Gate = ShareGate | DistanceGate | LagGate | RestartGate

_EVENTS = ("type",)
_HTTP = ("method", "handler")
_GRPC = ("method",)
_HANDLED = Selector("events_handled_total")
_FIRST_FAILURES = Selector("events_failed_at_first_total")
_GIVEN_UP = Selector("events_given_up_total")
_DEAD = Selector("events_given_up_total", (Matcher("to", "=", "dead_letters"),))
_HTTP_REQUESTS = Selector("http_requests_total")
_CALLS = Selector("grpc_server_handled_total")
# The codes of gRPC that say that the server failed.
_FAULTS = "UNKNOWN|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|DATA_LOSS"
_RARE = Margin(least=0.01, matters=0.05)
# All events of a failing key fail, so that the same number of them is less evidence.
_RARER = Margin(least=0.01, matters=0.02)
_SLOWER = Margin(least=0.1, matters=0.2)

GATES: tuple[Gate, ...] = (
    ShareGate(
        "HTTP errors",
        (Selector(_HTTP_REQUESTS.name, (Matcher("status", "=~", "5.."),)),),
        (_HTTP_REQUESTS,),
        _HTTP,
        "requests",
        _RARE,
    ),
    DistanceGate(
        "HTTP latency", Selector("http_request_duration_seconds"), _HTTP, "requests", _SLOWER
    ),
    ShareGate(
        "gRPC errors",
        (Selector(_CALLS.name, (Matcher("code", "=~", _FAULTS),)),),
        (_CALLS,),
        _GRPC,
        "calls",
        _RARE,
    ),
    DistanceGate("gRPC latency", Selector("grpc_server_handling_seconds"), _GRPC, "calls", _SLOWER),
    ShareGate(
        "failed events", (_FIRST_FAILURES,), (_HANDLED, _FIRST_FAILURES), _EVENTS, "events", _RARER
    ),
    ShareGate("tries used up", (_GIVEN_UP,), (_HANDLED, _GIVEN_UP), _EVENTS, "events", _RARE),
    ShareGate("dead letters", (_DEAD,), (_HANDLED, _DEAD), _EVENTS, "events", _RARE),
    DistanceGate("handler time", Selector("event_handler_seconds"), _EVENTS, "events", _SLOWER),
    DistanceGate(
        "publish to handled", Selector("event_latency_seconds"), _EVENTS, "events", _SLOWER
    ),
    LagGate("lag per lane", Selector("event_lag"), Selector("event_lanes"), 2.0, 10.0),
    RestartGate("restarts", 1),
)
"""The gates of every service; a service's laws (`canary.laws`) are gates in addition."""


def metric_names(gates: Iterable[Gate]) -> frozenset[str]:
    """Return the names of all metrics that the gates and the analysis itself read."""
    return frozenset({START_TIME.name, *(name for gate in gates for name in gate.metrics)})
