"""The paths of a service's HTTP API, as far as an entry from outside can tell them apart."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chassis import Service

__all__ = ["http_paths", "prefix"]


def http_paths(service: "Service") -> tuple[str, ...]:
    """Read the prefixes of all routes of the service's routers, and of the API's documentation.

    Sorted, each once; one that lies below another is left out. The probes and /metrics are no
    part of the API.
    """
    from fastapi.routing import iter_route_contexts

    from chassis.http import docs

    # A route without a path may answer any.
    routes = [
        route.path or "" for router in service.http for route in iter_route_contexts(router.routes)
    ]
    if not routes:
        return ()
    found = {prefix(route) for route in (*routes, *docs.PATHS)}
    return tuple(sorted(path for path in found if not _lies_below(path, found)))


def prefix(route: str) -> str:
    """The parts of a route's path before its first parameter: `/orders` of `/orders/{id}/events`.

    `/` is the page at the root alone, and `/*` is a route whose first part has a parameter.
    """
    if route == "/":
        return route
    fixed, parameter, _ = route.partition("{")
    if parameter:
        fixed = fixed.rpartition("/")[0]
    return fixed.rstrip("/") or "/*"


def _lies_below(path: str, others: Iterable[str]) -> bool:
    return any(path.startswith(f"{other}/") for other in others)
