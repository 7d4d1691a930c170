"""The kinds of simulated requests and events, with the series that count them."""

from dataclasses import dataclass

from devkit.canary.analysis import Series

__all__ = ["AMOUNT", "CALLS", "EVENTS", "REQUEST", "Answered", "Handled"]


@dataclass(frozen=True)
class Answered:
    """A kind of requests, with the median time of an answer in seconds."""

    median: float
    good: Series
    bad: Series
    seconds: Series


@dataclass(frozen=True)
class Handled:
    """A type of events, with the median time of its handler in seconds."""

    median: float
    handled: Series
    failed: Series
    given_up: Series
    seconds: Series
    latency: Series


def _series(name: str, **labels: str) -> Series:
    return Series(name, frozenset(labels.items()))


def _call(method: str, median: float) -> Answered:
    return Answered(
        median,
        _series("grpc_server_handled_total", method=method, code="OK"),
        _series("grpc_server_handled_total", method=method, code="INTERNAL"),
        _series("grpc_server_handling_seconds", method=method),
    )


def _event(type: str, median: float) -> Handled:
    return Handled(
        median,
        _series("events_handled_total", type=type),
        _series("events_failed_at_first_total", type=type),
        _series("events_given_up_total", type=type, to="another_version"),
        _series("event_handler_seconds", type=type),
        _series("event_latency_seconds", type=type),
    )


REQUEST = Answered(
    0.008,
    _series("http_requests_total", method="POST", handler="/orders", status="202"),
    _series("http_requests_total", method="POST", handler="/orders", status="500"),
    _series("http_request_duration_seconds", method="POST", handler="/orders"),
)
CALLS = (_call("shop.Orders/Get", 0.0015), _call("shop.Orders/Place", 0.006))
EVENTS = (
    _event("shop.Reserved", 0.002),
    _event("shop.Rejected", 0.0012),
    _event("shop.Refunded", 0.007),
)
AMOUNT = _series("payment_amount")
