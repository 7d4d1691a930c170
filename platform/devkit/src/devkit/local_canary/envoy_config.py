"""The configuration of the Envoy that splits the requests of canaried services.

For each of them it listens on the ports that the service has without a canary. Routes come from
files that it watches, so that weights change while it runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devkit.local_canary.routes import PROTOCOLS, cluster_name, route_name, routes_file_name
from devkit.ports import ReplicaPorts

__all__ = ["Front", "envoy_config"]

_TYPE_PREFIX = "type.googleapis.com/envoy"
_LOCALHOST = "127.0.0.1"
# It closes idle connections before the services do, which keep them for longer.
_IDLE = "30s"
_NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class Front:
    """The ports on which a canaried service is called, and those of its replicas by track."""

    service: str
    ports: ReplicaPorts
    stable: Sequence[ReplicaPorts]
    canary: Sequence[ReplicaPorts]
    serves_grpc: bool = True

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols that the service serves."""
        return PROTOCOLS if self.serves_grpc else PROTOCOLS[:1]


def envoy_config(fronts: Iterable[Front], routes: Path) -> dict[str, Any]:
    """Return Envoy's bootstrap for these fronts; `routes` is the folder of their routes."""
    pairs = [(front, protocol) for front in fronts for protocol in front.protocols]
    return {
        "node": {"id": "slipway", "cluster": "slipway"},
        "static_resources": {
            "listeners": [_listener(front, protocol, routes) for front, protocol in pairs],
            "clusters": [
                cluster
                for front, protocol in pairs
                for cluster in (
                    # A request for a canary that is not ready goes to the stable version, as its
                    # lanes do.
                    _cluster(front, protocol, "canary", [front.canary, front.stable]),
                    _cluster(front, protocol, "stable", [front.stable]),
                )
            ],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE_PREFIX}.extensions.resource_monitors."
                        "downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": _NO_LIMIT,
                    },
                }
            ]
        },
    }


def _listener(front: Front, protocol: str, routes: Path) -> dict[str, Any]:
    """Return the listener of one protocol, which changes requests and answers little."""
    name = route_name(front.service, protocol)
    manager = {
        "@type": f"{_TYPE_PREFIX}.extensions.filters.network.http_connection_manager.v3."
        "HttpConnectionManager",
        "stat_prefix": name,
        "rds": {
            "route_config_name": name,
            "config_source": {
                "path_config_source": {"path": str(routes / routes_file_name(name))},
                "resource_api_version": "V3",
            },
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_TYPE_PREFIX}.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ],
        # Streams of events are silent for a long time.
        "stream_idle_timeout": "0s",
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "proxy_100_continue": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_protocol_options": {"accept_http_10": True},
    }
    return {
        "name": name,
        "address": _address(_port(front.ports, protocol)),
        # Otherwise a second server could listen on the same port without an error.
        "enable_reuse_port": False,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }


def _cluster(
    front: Front, protocol: str, track: str, priorities: Sequence[Sequence[ReplicaPorts]]
) -> dict[str, Any]:
    """Return the cluster of a track: replicas in groups by priority.

    A later group gets requests only while replicas of the earlier ones are not ready.
    """
    name = cluster_name(front.service, protocol, track)
    upstream = {
        "@type": f"{_TYPE_PREFIX}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": _IDLE},
        "explicit_http_config": (
            {"http2_protocol_options": {}} if protocol == "grpc" else {"http_protocol_options": {}}
        ),
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": upstream
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {
                    "priority": priority,
                    "lb_endpoints": [_endpoint(ports, protocol) for ports in replicas],
                }
                for priority, replicas in enumerate(priorities)
            ],
        },
        "health_checks": [_readiness_check()],
        # By default Envoy delays a change of readiness within a second of another one.
        "common_lb_config": {"update_merge_window": "0s"},
        "circuit_breakers": {
            "thresholds": [
                dict.fromkeys(
                    ("max_connections", "max_pending_requests", "max_requests", "max_retries"),
                    _NO_LIMIT,
                )
            ]
        },
    }


def _endpoint(ports: ReplicaPorts, protocol: str) -> dict[str, Any]:
    """Return the address of a replica, and the port of its readiness."""
    return {
        "endpoint": {
            "address": _address(_port(ports, protocol)),
            "health_check_config": {"port_value": ports.http},
        }
    }


def _readiness_check() -> dict[str, Any]:
    """Return the check by which a replica gets requests, as by a readiness probe."""
    return {
        "timeout": "1s",
        "interval": "1s",
        "unhealthy_interval": "0.25s",
        "no_traffic_interval": "1s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": _LOCALHOST, "port_value": port}}


def _port(ports: ReplicaPorts, protocol: str) -> int:
    return ports.grpc if protocol == "grpc" else ports.http
