"""Readings of two sides, made from the metrics that real processes would report."""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from devkit.canary.analysis import GATES, Gate, Pod, Readings, metric_names
from devkit.canary.metrics import read_pod_text

__all__ = ["Process", "Sides"]


class Process:
    """A process with the chassis' metrics in a registry of its own."""

    def __init__(self, started: float = 0.0) -> None:
        registry = self.registry = CollectorRegistry()
        self.started = Gauge("process_start_time_seconds", "start", registry=registry)
        self.started.set(started)
        self.requests = Counter(
            "http_requests_total", "requests", ["handler", "method", "status"], registry=registry
        )
        self.calls = Counter(
            "grpc_server_handled_total", "calls", ["method", "code"], registry=registry
        )
        self.handled = Counter("events_handled_total", "handled", ["type"], registry=registry)
        self.failed = Counter("events_failed_at_first_total", "failed", ["type"], registry=registry)
        self.handler_seconds = Histogram(
            "event_handler_seconds",
            "time",
            ["type"],
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
        )
        self.amounts = Histogram(
            "payment_amount", "amounts", registry=registry, buckets=(1, 2, 5, 10, 20, 50, 100)
        )
        self.lag = Gauge("event_lag", "lag", registry=registry)
        self.lanes = Gauge("event_lanes", "lanes", registry=registry)
        self.restarts = 0

    def answer(self, requests: int, errors: int = 0, handler: str = "/orders") -> None:
        """Count HTTP requests, some of which failed."""
        self.requests.labels(handler, "GET", "200").inc(requests - errors)
        self.requests.labels(handler, "GET", "500").inc(errors)

    def take(self, seconds: float, events: int, type: str = "shop.Placed") -> None:
        """Count events that a handler took `seconds` each for."""
        self.handled.labels(type).inc(events)
        for _ in range(events):
            self.handler_seconds.labels(type).observe(seconds)

    def read(self, gates: tuple[Gate, ...]) -> Pod:
        """Return what /metrics answers, as the analysis gets it."""
        text = generate_latest(self.registry).decode()
        return Pod(read_pod_text(text, metric_names(gates)), self.restarts)


@dataclass
class Sides:
    """A process of stable and one of the canary, and the readings of both."""

    gates: tuple[Gate, ...] = GATES
    stable: Process = field(default_factory=Process)
    canary: Process = field(default_factory=Process)
    readings: list[Readings] = field(default_factory=list)

    def read(self) -> list[Readings]:
        """Take a reading, and return all of them."""
        stable, canary = self.stable.read(self.gates), self.canary.read(self.gates)
        at = 1000.0 + len(self.readings)
        self.readings.append(Readings(at, {"stable-1": stable}, {"canary-1": canary}))
        return self.readings
