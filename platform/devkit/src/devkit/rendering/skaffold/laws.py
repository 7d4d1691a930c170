"""The configuration of `skaffold verify`: it replays the demo's baskets and checks the laws."""

from collections.abc import Iterator

from devkit.describing.description import PlatformDescription
from devkit.rendering.artifact import Artifact
from devkit.rendering.skaffold.configuration import DEMO, configuration, image, profiles

__all__ = ["laws"]

_IMAGE = f"slipway-{DEMO}"
_ADMISSION = "networkpolicy.yaml"
_SECONDS = 600


def laws(platform: PlatformDescription) -> Artifact:
    """Return the configuration, with an address for each service."""
    inputs = ("platform/devkit/src", f"{DEMO}/src")
    built = image(_IMAGE, "../..", DEMO, inputs)
    replay = {
        "name": "laws",
        "timeout": _SECONDS,
        "container": {"name": "laws", "image": _IMAGE, "args": list(_addresses(platform))},
        # This path, unlike all others, is relative to the folder in which Skaffold is started.
        "executionMode": {"kubernetesCluster": {"jobManifestPath": f"{DEMO}/deploy/job.yaml"}},
    }
    content = {
        "build": {"tagPolicy": {"inputDigest": {}}, "artifacts": [built]},
        # The services' policies do not know the demo, so it has its own.
        "manifests": {"rawYaml": [_ADMISSION]},
        "deploy": {"kubectl": {}},
        "verify": [replay],
    }
    removed: list[dict[str, object]] = [
        {"op": "remove", "path": path} for path in ("/manifests", "/deploy")
    ]
    path = f"{DEMO}/deploy/skaffold.yaml"
    return configuration(
        path, "job.yaml next to it", "laws", content | profiles(production=removed)
    )


def _addresses(platform: PlatformDescription) -> Iterator[str]:
    """Yield the arguments that name the gateway and each service's headless Service."""
    for service in platform.services:
        if service.grpc is None:
            yield f"--at={service.name}=http://{service.name}:{service.http.port}"
        else:
            host = f"{service.name}-headless"
            yield f"--at={service.name}={host}:{service.grpc.port}"
            yield f"--at={service.name}=http://{host}:{service.http.port}"
