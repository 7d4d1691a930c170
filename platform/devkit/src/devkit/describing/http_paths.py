"""The path prefixes of a service's HTTP API, by which an ingress routes requests to it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chassis import Service

__all__ = ["http_paths", "prefix"]


def http_paths(service: "Service") -> tuple[str, ...]:
    """Return the prefixes of the service's routes and of the API's documentation, sorted.

    A prefix below another one is left out. Probes and /metrics are not part of the API.
    """
    from fastapi.routing import iter_route_contexts

    from chassis.http import docs

    # A route without a path may answer any path.
    routes = [
        route.path or "" for router in service.http for route in iter_route_contexts(router.routes)
    ]
    if not routes:
        return ()
    found = {prefix(route) for route in (*routes, *docs.PATHS)}
    return tuple(sorted(path for path in found if not _lies_below(path, found)))


def prefix(route: str) -> str:
    """Return a route's path before its first parameter: `/orders` of `/orders/{id}/events`.

    `/` stands for the page at the root only, `/*` for a route whose first part has a parameter.
    """
    if route == "/":
        return route
    fixed, parameter, _ = route.partition("{")
    if parameter:
        fixed = fixed.rpartition("/")[0]
    return fixed.rstrip("/") or "/*"


def _lies_below(path: str, others: Iterable[str]) -> bool:
    return any(path.startswith(f"{other}/") for other in others)
