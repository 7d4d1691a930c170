"""Counts and times HTTP requests, by the template of their route, their method and status."""

from functools import lru_cache

from prometheus_client import Counter, Histogram
from prometheus_fastapi_instrumentator.routing import get_route_name
from starlette.requests import Request
from starlette.types import Scope

from chassis.telemetry import metrics

__all__ = ["count"]

# The methods of RFC 9110 and RFC 5789. Any other is counted as "other", because clients could
# otherwise create metric series without limit.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def count(scope: Scope, status: int, seconds: float) -> None:
    """Count a request whose response has this status and began after `seconds`."""
    method = scope["method"]
    requests, durations = _series(
        _route(scope), method if method in _METHODS else "other", str(status)
    )
    requests.inc()
    durations.observe(seconds)


@lru_cache
def _series(*labels: str) -> tuple[Counter, Histogram]:
    """Return the series with these labels, whose look-up takes as long as the count."""
    return metrics.HTTP_REQUESTS.labels(*labels), metrics.HTTP_REQUEST_SECONDS.labels(*labels)


def _route(scope: Scope) -> str:
    """Return the template of the request's route: /books/{book_id}; "none" without a route."""
    # FastAPI keeps the route that it has found here. Without it the routes are searched again, as
    # for a request that was refused before it was routed.
    found = scope.get("fastapi", {}).get("effective_route_context")
    template = getattr(found, "path", None)
    return template or get_route_name(Request(scope), should_include_root_path=False) or "none"
