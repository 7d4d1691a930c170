"""Skaffold's configurations, each in the folder of what it deploys."""

from collections.abc import Iterator

from devkit.describing.description import PlatformDescription
from devkit.rendering.artifact import Artifact
from devkit.rendering.skaffold.configuration import DEMO, configuration, profiles
from devkit.rendering.skaffold.laws import laws
from devkit.rendering.skaffold.of_service import of_service

__all__ = ["artifacts"]


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield skaffold.yaml of the root, of deploy/, of the demo and of each service."""
    if not platform.services:
        return
    yield _all_services(platform)
    yield _servers(platform)
    if _has_demo(platform):
        yield laws(platform)
    for service in platform.services:
        yield of_service(service)


def _all_services(platform: PlatformDescription) -> Artifact:
    folders = [service.folder for service in platform.services]
    folders += [DEMO] if _has_demo(platform) else []
    required = {"requires": [{"path": f"{folder}/deploy/skaffold.yaml"} for folder in folders]}
    additions = "values.yaml in each service's deploy/"
    return configuration("skaffold.yaml", additions, "slipway", required | profiles())


def _servers(platform: PlatformDescription) -> Artifact:
    """Return the configuration of the broker and the database: the umbrella without services."""
    release = {
        "name": "slipway",
        "chartPath": "helm/slipway",
        "valuesFiles": ["helm/slipway/values-development.yaml"],
        "setValues": {f"{service.name}.enabled": False for service in platform.services},
    }
    overlay = {"kustomize": {"paths": ["k8s/overlays/development"]}}
    without_helm: dict[str, object] = {"op": "remove", "path": "/deploy/helm"}
    pods_only: list[dict[str, object]] = [
        {
            "op": "add",
            "path": f"/deploy/helm/releases/0/setValues/{server}.storage.enabled",
            "value": False,
        }
        for server in ("nats", "postgresql")
    ]
    content = {"deploy": {"helm": {"releases": [release]}}} | profiles(
        # The release is left out because production has its own broker and database.
        production=[without_helm],
        kustomize=[
            without_helm,
            {"op": "add", "path": "/deploy/kubectl", "value": {}},
            {"op": "add", "path": "/manifests", "value": overlay},
        ],
        without_volumes=pods_only,
    )
    return configuration(
        "deploy/skaffold.yaml", "helm/slipway/values-development.yaml", "platform", content
    )


def _has_demo(platform: PlatformDescription) -> bool:
    return (platform.root / DEMO).is_dir()
