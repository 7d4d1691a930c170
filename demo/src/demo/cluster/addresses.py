"""Where the services answer inside the cluster, and the values that let the demo in."""

from typing import Any

from demo.cluster.pod import NAME
from devkit.describing.description import PlatformDescription

__all__ = ["addresses", "admitted"]


def addresses(platform: PlatformDescription, entry: str) -> list[str]:
    """What `slipway demo --at` takes: the entry, and the headless Service of each service."""
    found = [f"gateway={entry}"]
    for service in platform.services:
        if service.grpc is not None:
            host = f"{service.name}-headless"
            found += [
                f"{service.name}={host}:{service.grpc.port}",
                f"{service.name}=http://{host}:{service.http.port}",
            ]
    return found


def admitted(platform: PlatformDescription) -> dict[str, Any]:
    """The chart's values by which every service takes calls of the demo's pod."""
    return {
        service.name: {
            "extraCallers": {
                NAME: [each.full_name for each in (service.grpc.services if service.grpc else ())]
            }
        }
        for service in platform.services
    }
