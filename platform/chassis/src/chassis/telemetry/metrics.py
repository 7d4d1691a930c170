"""All metrics of the chassis. The label `type` is an event's full name.

A service adds its own metrics with prometheus_client; `/metrics` shows them.
"""

import time
from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

__all__ = [
    "EVENTS_FAILED",
    "EVENTS_FAILED_AT_FIRST",
    "EVENTS_GIVEN_UP",
    "EVENTS_HANDLED",
    "EVENTS_LOST",
    "EVENTS_PUBLISHED",
    "EVENTS_SEEN_AGAIN",
    "EVENT_DATABASE_REFUSED",
    "EVENT_DEAD_LETTERS",
    "EVENT_HANDLER_SECONDS",
    "EVENT_LAG",
    "EVENT_LANES",
    "EVENT_LANES_STOPPED",
    "EVENT_LANES_WEIGHT",
    "EVENT_LATENCY_SECONDS",
    "EVENT_MEASURED_TIMESTAMP",
    "EVENT_STREAMS",
    "EVENT_TASKS",
    "EVENT_TYPES_PAUSED",
    "GRPC_HANDLED",
    "GRPC_HANDLING_SECONDS",
    "HTTP_REQUESTS",
    "HTTP_REQUEST_SECONDS",
    "LOG_LINES_DROPPED",
    "OUTBOX_OLDEST_SECONDS",
    "OUTBOX_REFUSED",
    "REQUESTS_REFUSED",
    "TRANSACTION_LONGEST_SECONDS",
    "MeasuredGauge",
]

disable_created_metrics()  # type: ignore[no-untyped-call]

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

EVENTS_PUBLISHED = Counter(
    "events_published_total", "Events the stream has acknowledged.", ["type"]
)
EVENTS_HANDLED = Counter("events_handled_total", "Events that took effect.", ["type"])
EVENTS_FAILED = Counter("events_failed_total", "Tries of a handler that failed.", ["type"])
EVENTS_FAILED_AT_FIRST = Counter(
    "events_failed_at_first_total", "Events whose first try failed.", ["type"]
)
EVENTS_GIVEN_UP = Counter(
    "events_given_up_total",
    "Events that this version does not try again: left to another version, or dead letters.",
    ["type", "to"],
)
EVENTS_SEEN_AGAIN = Counter(
    "events_seen_again_total",
    "Events delivered again after they had been consumed, and dropped.",
    ["type"],
)
EVENTS_LOST = Counter(
    "events_lost_total", "Events missing from the stream: gaps in its numbers.", ["type"]
)
EVENT_MEASURED_TIMESTAMP = Gauge(
    "event_measured_timestamp_seconds",
    "When a gauge of the event path was last measured, in epoch seconds.",
    ["gauge"],
)


class MeasuredGauge(Collector):
    """A gauge without samples while its value is unknown, so that it shows no outdated value.

    `event_measured_timestamp_seconds` is the time of its last measurement.
    """

    # It is a multiple of the interval at which gauges are measured.
    FRESH_SECONDS = 30.0

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._values: dict[tuple[str, ...], tuple[float, float]] = {}
        REGISTRY.register(self)

    def set(self, value: float, *labels: str) -> None:
        """Set the value, measured now."""
        self._values[labels] = value, time.monotonic()
        EVENT_MEASURED_TIMESTAMP.labels(self._name).set_to_current_time()

    def forget(self) -> None:
        """Drop all samples, because the value cannot be measured."""
        self._values = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the samples for a scrape; those older than FRESH_SECONDS are left out."""
        (family,) = self.describe()
        oldest = time.monotonic() - self.FRESH_SECONDS
        for labels, (value, at) in tuple(self._values.items()):
            if at > oldest:
                family.add_metric(labels, value)
        yield family

    def describe(self) -> list[GaugeMetricFamily]:
        """Return the name and documentation, without samples."""
        return [GaugeMetricFamily(self._name, self._documentation, labels=self._labels)]


EVENT_TASKS = MeasuredGauge("event_tasks", "Events stored as tasks, by state.", ["state"])
EVENT_DEAD_LETTERS = MeasuredGauge("event_dead_letters", "Events that could not be handled.")
EVENT_LAG = MeasuredGauge(
    "event_lag", "Events in this replica's lanes that have not been consumed yet."
)
EVENT_LANES = MeasuredGauge("event_lanes", "Lanes this replica reads, over all streams.")
EVENT_STREAMS = MeasuredGauge(
    "event_streams", "Streams whose lanes the replicas of this service divide among themselves."
)
EVENT_LANES_WEIGHT = MeasuredGauge(
    "event_lanes_weight", "Share of the lanes that this version asks for, in percent."
)
EVENT_LANES_STOPPED = MeasuredGauge(
    "event_lanes_stopped",
    "Lanes stopped because of a gap or because their producer restarted its numbers.",
)
EVENT_TYPES_PAUSED = MeasuredGauge(
    "event_types_paused", "Event types that an operator has paused in this service."
)
EVENT_DATABASE_REFUSED = Gauge(
    "event_database_refused",
    "1 while this replica reads and publishes nothing because others use another database.",
)
OUTBOX_OLDEST_SECONDS = MeasuredGauge(
    "outbox_oldest_seconds", "Age of the oldest event the stream has not acknowledged."
)
OUTBOX_REFUSED = MeasuredGauge(
    "outbox_refused", "Events that the stream refused because of their size."
)
EVENT_HANDLER_SECONDS = Histogram(
    "event_handler_seconds", "Time in an event's handler.", ["type"], buckets=_FAST
)
EVENT_LATENCY_SECONDS = Histogram(
    "event_latency_seconds",
    "Time from an event's publication to its effect.",
    ["type"],
    buckets=_SLOW,
)
TRANSACTION_LONGEST_SECONDS = Gauge(
    "transaction_longest_seconds",
    "Time for which the longest running transaction has held its thread.",
)
GRPC_HANDLED = Counter(
    "grpc_server_handled_total", "gRPC calls answered, by code.", ["method", "code"]
)
GRPC_HANDLING_SECONDS = Histogram(
    "grpc_server_handling_seconds", "Time to answer a gRPC call.", ["method"], buckets=_FAST
)
HTTP_REQUESTS = Counter(
    "http_requests_total",
    "HTTP requests answered, by route, method and status.",
    ["handler", "method", "status"],
)
HTTP_REQUEST_SECONDS = Histogram(
    "http_request_duration_seconds",
    "Time until the response to an HTTP request began.",
    ["handler", "method", "status"],
)
LOG_LINES_DROPPED = Counter(
    "log_lines_dropped_total",
    "Log lines dropped because they could not be written or were not read in time.",
)
REQUESTS_REFUSED = Counter(
    "requests_refused_total",
    "Requests refused because the limits of running and waiting requests were reached.",
    ["what"],
)
