"""The addresses of the services in the cluster, and the values that let the demo call them."""

from typing import Any

from demo.cluster.pod import NAME
from devkit.describing.description import PlatformDescription

__all__ = ["addresses", "caller_values"]


def addresses(platform: PlatformDescription, entry: str) -> list[str]:
    """Return the values of `slipway demo --at`: the entry, and each service's headless Service."""
    found = [f"gateway={entry}"]
    for service in platform.services:
        if service.grpc is not None:
            host = f"{service.name}-headless"
            found += [
                f"{service.name}={host}:{service.grpc.port}",
                f"{service.name}=http://{host}:{service.http.port}",
            ]
    return found


def caller_values(platform: PlatformDescription) -> dict[str, Any]:
    """Return the chart's values that allow the demo's pod to call every service."""
    return {
        service.name: {
            "extraCallers": {
                NAME: [each.full_name for each in (service.grpc.services if service.grpc else ())]
            }
        }
        for service in platform.services
    }
