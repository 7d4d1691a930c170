"""Routes of Envoy: the weight of each canary, and the headers that select it."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["PROTOCOLS", "cluster_name", "route_name", "routes", "routes_file_name"]

PROTOCOLS = ("http", "grpc")
_TYPE_PREFIX = "type.googleapis.com/envoy"
# These failures happen before a server has seen the request, so it cannot take effect twice.
_RETRIED = "connect-failure,refused-stream,reset-before-request"


def routes(service: str, protocol: str, weight: int, match: Mapping[str, str]) -> dict[str, Any]:
    """Return the routes of a service, as the content of a file that Envoy watches.

    `weight` is the canary's share of requests in percent. A request with a header of `match`
    always goes to the canary.
    """
    name = route_name(service, protocol)
    stable, canary = (cluster_name(service, protocol, track) for track in ("stable", "canary"))
    shares = [{"name": canary, "weight": weight}, {"name": stable, "weight": 100 - weight}]
    matched = [
        _route({"cluster": canary}, [_exactly(header, value)]) for header, value in match.items()
    ]
    configuration = {
        "@type": f"{_TYPE_PREFIX}.config.route.v3.RouteConfiguration",
        "name": name,
        "virtual_hosts": [
            {
                "name": name,
                "domains": ["*"],
                "retry_policy": _retry_policy(),
                "routes": [*matched, _route({"weighted_clusters": {"clusters": shares}})],
            }
        ],
    }
    return {"resources": [configuration]}


def route_name(service: str, protocol: str) -> str:
    """Return the name of a service's routes."""
    return f"{service}.{protocol}"


def routes_file_name(route: str) -> str:
    """Return the name of the file with these routes: Envoy reads one set of routes per file."""
    return f"{route}.json"


def cluster_name(service: str, protocol: str, track: str) -> str:
    """Return the name of a cluster: the replicas of one track of a service."""
    return f"{service}.{protocol}.{track}"


def _route(target: Mapping[str, Any], headers: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return a route. Without a time limit, only the callers' deadlines end calls and streams."""
    return {
        "match": {"prefix": "/", "headers": list(headers)},
        "route": {**target, "timeout": "0s"},
    }


def _exactly(header: str, value: str) -> dict[str, Any]:
    return {"name": header, "string_match": {"exact": value}}


def _retry_policy() -> dict[str, Any]:
    """Return the policy that sends a request of a dead canary to the stable version.

    The stable replicas are the second priority of the canary's cluster.
    """
    priorities = f"{_TYPE_PREFIX}.extensions.retry.priority.previous_priorities.v3"
    hosts = f"{_TYPE_PREFIX}.extensions.retry.host.previous_hosts.v3"
    return {
        "retry_on": _RETRIED,
        "num_retries": 3,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.025s"},
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": f"{priorities}.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        },
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{hosts}.PreviousHostsPredicate"},
            }
        ],
        "host_selection_retry_max_attempts": 3,
    }
