"""Every metric of the chassis. The label `type` is an event's full name.

`http_requests_total` and `http_request_duration_seconds` come from the HTTP instrumentation.
A service adds a metric of its own by defining it with prometheus_client; `/metrics` shows it.
"""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

__all__ = [
    "EVENTS_FAILED",
    "EVENTS_HANDLED",
    "EVENTS_LOST",
    "EVENTS_PUBLISHED",
    "EVENTS_SEEN_AGAIN",
    "EVENT_DEAD_LETTERS",
    "EVENT_HANDLER_SECONDS",
    "EVENT_LAG",
    "EVENT_LANES",
    "EVENT_LANES_STOPPED",
    "EVENT_LATENCY_SECONDS",
    "EVENT_TASKS",
    "GRPC_HANDLED",
    "GRPC_HANDLING_SECONDS",
    "OUTBOX_OLDEST_SECONDS",
]

disable_created_metrics()  # type: ignore[no-untyped-call]

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

EVENTS_PUBLISHED = Counter(
    "events_published_total", "Events the stream has acknowledged.", ["type"]
)
EVENTS_HANDLED = Counter("events_handled_total", "Events that took effect.", ["type"])
EVENTS_FAILED = Counter("events_failed_total", "Tries of a handler that failed.", ["type"])
EVENTS_SEEN_AGAIN = Counter(
    "events_seen_again_total", "Events that came again after they had been taken.", ["type"]
)
EVENTS_LOST = Counter(
    "events_lost_total", "Events missing from the stream: gaps in the numbers.", ["type"]
)
EVENT_TASKS = Gauge("event_tasks", "Events stored to be handled apart, by what they do.", ["state"])
EVENT_DEAD_LETTERS = Gauge("event_dead_letters", "Events nobody could handle.")
EVENT_LAG = Gauge(
    "event_lag", "Events in the streams this service has yet to take, over all subjects."
)
EVENT_LANES = Gauge("event_lanes", "Lanes this replica reads, over all streams.")
EVENT_LANES_STOPPED = Gauge(
    "event_lanes_stopped", "Lanes stopped for a gap or a producer that began anew."
)
OUTBOX_OLDEST_SECONDS = Gauge(
    "outbox_oldest_seconds", "Age of the oldest event the stream has not acknowledged."
)
EVENT_HANDLER_SECONDS = Histogram(
    "event_handler_seconds", "Time in an event's handler.", ["type"], buckets=_FAST
)
EVENT_LATENCY_SECONDS = Histogram(
    "event_latency_seconds", "From an event's publication to its effect.", ["type"], buckets=_SLOW
)
GRPC_HANDLED = Counter(
    "grpc_server_handled_total", "gRPC calls answered, by code.", ["method", "code"]
)
GRPC_HANDLING_SECONDS = Histogram(
    "grpc_server_handling_seconds", "Time to answer a gRPC call.", ["method"], buckets=_FAST
)
